"""Confine the sandboxed processes: their own root directory, no privileges, a system-call filter.

The namespaces isolate; the filter is a second line of defense: no new processes, no exec, no sockets, no exotic kernel
interfaces. It also keeps a program to one process, so that the process's memory limit is the program's. Threads are
allowed. Python's `os` lacks most of these calls, so they go through the C library.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Mapping, Sequence

libc = ctypes.CDLL(None, use_errno=True)

_PR_SET_DUMPABLE, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 4, 24, 38
_CAPABILITY_VERSION_3 = 0x20080522


def call(name: str, *arguments: object) -> None:
    """Call the C function `name`; a negative result raises an OSError that names it."""
    if getattr(libc, name)(*arguments) < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")


def _prctl(option: int, value: int) -> None:
    """Call `prctl(2)` with one argument."""
    call("prctl", option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))


def forgo_privileges(user: int) -> None:
    """Drop every capability and the ways to regain them, and prevent inspection by processes of the same user.

    Args:
        user: Number of the user and group to switch to from root; it need not exist; 0: change neither.
    """
    for capability in range(64):
        if libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            break  # past the kernel's last capability, or no right to drop it
    if user:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    call("capset", ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)()))
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_DUMPABLE, 0)


# --- the root directory ---------------------------------------------------------------------------------------------
_RDONLY, _NOSUID, _NODEV, _NOEXEC = 1, 2, 4, 8
_REMOUNT, _BIND, _REC, _DETACH = 32, 4096, 16384, 2
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
DEVICES = ("null", "zero", "full", "random", "urandom")
_STAGE = "/tmp"  # exists everywhere; only this mount namespace sees what is mounted there


def enter_jail(
    visible: Sequence[str], links: Mapping[str, str], scratch: str, scratch_bytes: int, user: int, execute: bool
) -> None:
    """Replace the root directory with one that has only read-only system files and an empty scratch directory.

    Needs a private mount namespace and the right to mount in it.

    Args:
        visible: Absolute paths of files and directories to show read-only at the same place; symbolic links are copied.
        links: Further symbolic links and what they lead to.
        scratch: The only writable directory.
        scratch_bytes: Its size.
        user: Its owner.
        execute: Files in it may be executed.

    Raises:
        OSError: A mount was refused.
    """
    os.umask(0o022)  # another user must be able to enter the directories created here
    links = {**{path: os.readlink(path) for path in visible if os.path.islink(path)}, **links}
    sources = {path: os.open(path, os.O_PATH) for path in visible if path not in links and os.path.exists(path)}
    sources |= {f"/dev/{name}": os.open(f"/dev/{name}", os.O_PATH) for name in DEVICES}
    _mount("tmpfs", _STAGE, "tmpfs", _NOSUID | _NODEV, "size=1m,mode=755")
    for path, target in links.items():
        os.makedirs(os.path.dirname(_STAGE + path), exist_ok=True)
        os.symlink(target, _STAGE + path)
    for path, handle in sources.items():
        _bind_read_only(handle, _STAGE + path, devices=path.startswith("/dev/"))
        os.close(handle)
    os.makedirs(_STAGE + scratch, exist_ok=True)
    options = f"size={scratch_bytes},nr_inodes=4096,mode=700,uid={user},gid={user}"
    _mount("tmpfs", _STAGE + scratch, "tmpfs", _NOSUID | _NODEV | (0 if execute else _NOEXEC), options)
    _switch_root(_STAGE)
    call("sethostname", b"sandbox", 7)


def _mount(source: str, target: str, kind: str, flags: int, options: str) -> None:
    call("mount", source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode())


def _bind_read_only(handle: int, target: str, devices: bool) -> None:
    if os.path.isdir(f"/proc/self/fd/{handle}"):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    call("mount", f"/proc/self/fd/{handle}".encode(), target.encode(), None, ctypes.c_ulong(_BIND | _REC), None)
    # struct mount_attr: attributes to set, to clear, propagation, user namespace
    attributes = (ctypes.c_uint64 * 4)(_RDONLY | _NOSUID | (0 if devices else _NODEV), 0, 0, 0)
    call(
        "mount_setattr", _AT_FDCWD, target.encode(), _AT_RECURSIVE, ctypes.byref(attributes), ctypes.sizeof(attributes)
    )


def _switch_root(root: str) -> None:
    os.chdir(root)
    call("pivot_root", b".", b".")  # stacks the old root on top of the new one, and the next line unmounts it
    call("umount2", b".", _DETACH)
    os.chdir("/")
    call("mount", None, b"/", None, ctypes.c_ulong(_REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV), None)


# --- the system-call filter -----------------------------------------------------------------------------------------
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_EPERM, _EAGAIN, _ENOSYS = 1, 11, 38
_LOAD, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_AND = 0x54
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16  # offsets in struct seccomp_data
_CLONE_THREAD = 0x00010000
_CLONE_NAMESPACES = 0x7E020000  # mount, cgroup, uts, ipc, user, pid, net
_X32_BIT = 0x40000000
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2

# name: (x86_64, aarch64); -1 where the architecture lacks the call
_DENIED = {
    "execve": (59, 221), "execveat": (322, 281), "fork": (57, -1), "vfork": (58, -1),
    "socket": (41, 198), "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "process_madvise": (440, 440), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "kcmp": (312, 272),
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "msgget": (68, 186),
    "semget": (64, 190), "mq_open": (240, 180), "fanotify_init": (300, 262), "quotactl": (179, 60),
    "kexec_load": (246, 104), "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89), "personality": (135, 92),
    "sched_setaffinity": (203, 122), "sched_setattr": (314, 274), "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119), "setpriority": (141, 140), "ioprio_set": (251, 30), "syslog": (103, 116),
    # A socket of a pair could still be tied to somebody's abstract address, where no namespace hides it.
    "connect": (42, 203), "bind": (49, 200), "listen": (50, 201), "accept": (43, 202), "accept4": (288, 242),
    "sendmsg": (46, 211), "sendmmsg": (307, 269),
    "tkill": (200, 130), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
}  # fmt: skip
_CLONE, _CLONE3, _PRLIMIT = (56, 220), (435, 435), (302, 261)
_SOCKETPAIR, _SENDTO, _FCNTL, _IOCTL = (53, 199), (44, 206), (72, 25), (16, 29)
_KILL_CALL, _TGKILL = (62, 129), (234, 131)
_SOCK_STREAM, _TYPE_MASK = 1, 0xF
# They have the kernel send signals to others.
_FCNTL_SIGNALS = (8, 10, 15)  # F_SETOWN, F_SETSIG, F_SETOWN_EX
_IOCTL_SIGNALS = (0x8901, 0x8902)  # FIOSETOWN, SIOCSPGRP
_ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}


def filter_is_supported() -> bool:
    """Return True if the filter knows the machine's system-call numbers."""
    return platform.system() == "Linux" and platform.machine() in _ARCHITECTURES


def build_filter(process: int, execute: bool = False, processes: bool = False) -> bytes:
    """Build the BPF program, an array of `struct sock_filter`, for this machine.

    Args:
        process: The only process that may be signaled.
        execute: Allow other programs to take the process's place.
        processes: Allow new processes, and threads by `clone`.
    """
    architecture, column = _ARCHITECTURES[platform.machine()]
    code = [
        _instruction(_LOAD, _ARCHITECTURE_AT),
        _instruction(_JUMP_EQUAL, architecture, 1, 0),
        _instruction(_RETURN, _KILL),
        _instruction(_LOAD, _NUMBER_AT),
        _instruction(_JUMP_GREATER_EQUAL, _X32_BIT, 0, 1),
        _instruction(_RETURN, _ERRNO | _ENOSYS),
    ]
    allowed = {"execve"} if execute else set()
    allowed |= {"fork", "vfork"} if processes else set()
    for numbers in (numbers for name, numbers in _DENIED.items() if name not in allowed):
        if numbers[column] >= 0:
            code += [_instruction(_JUMP_EQUAL, numbers[column], 0, 1), _instruction(_RETURN, _ERRNO | _EPERM)]
    code += _clone_rules(column, processes)
    # A program may lower its own limits (process 0 means itself), but not those of process 1.
    code += _unless(_PRLIMIT[column], 0, [0])
    code += _unless(_SOCKETPAIR[column], 1, [_SOCK_STREAM], mask=_TYPE_MASK)  # asyncio's; it leads nowhere else
    code += _unless(_SENDTO[column], 4, [0]) + _unless(_SENDTO[column], 4, [0], upper=True)  # no address
    code += _unless(_KILL_CALL[column], 0, [process, 0]) + _unless(_TGKILL[column], 0, [process])
    code += _refuse_commands(_FCNTL[column], _FCNTL_SIGNALS) + _refuse_commands(_IOCTL[column], _IOCTL_SIGNALS)
    return b"".join([*code, _instruction(_RETURN, _ALLOW)])


def _clone_rules(column: int, processes: bool) -> list[bytes]:
    """Refuse new processes or, where these are allowed, new namespaces, which would bring new rights."""
    # The C library tries clone3 first, whose flags a filter cannot see. On ENOSYS it falls back to clone, whose flags
    # are visible: with CLONE_THREAD it starts a thread, which is allowed, without it a process.
    flags = (_CLONE_NAMESPACES, 0, 1) if processes else (_CLONE_THREAD, 1, 0)
    return [
        _instruction(_JUMP_EQUAL, _CLONE3[column], 0, 1),
        _instruction(_RETURN, _ERRNO | _ENOSYS),
        _instruction(_JUMP_EQUAL, _CLONE[column], 0, 4),
        _instruction(_LOAD, _ARGUMENTS_AT),
        _instruction(_JUMP_SET, *flags),
        _instruction(_RETURN, _ERRNO | _EAGAIN),
        _instruction(_RETURN, _ALLOW),
    ]


def _refuse_commands(number: int, commands: Sequence[int]) -> list[bytes]:
    """Refuse call `number` with one of `commands` as its second argument."""
    body = [_instruction(_LOAD, _ARGUMENTS_AT + 8)]
    for command in commands:
        body += [_instruction(_JUMP_EQUAL, command, 0, 1), _instruction(_RETURN, _ERRNO | _EPERM)]
    body.append(_instruction(_LOAD, _NUMBER_AT))
    return [_instruction(_JUMP_EQUAL, number, 0, len(body)), *body]


def _unless(
    number: int, argument: int, allowed: Sequence[int], mask: int = 0xFFFFFFFF, upper: bool = False
) -> list[bytes]:
    """Refuse call `number` unless an argument's lower (or upper) 32 bits, masked, are one of `allowed`."""
    body = [_instruction(_LOAD, _ARGUMENTS_AT + 8 * argument + 4 * upper), _instruction(_AND, mask)]
    for place, value in enumerate(allowed):
        body.append(_instruction(_JUMP_EQUAL, value, len(allowed) - place, 0))
    body += [_instruction(_RETURN, _ERRNO | _EPERM), _instruction(_LOAD, _NUMBER_AT)]
    return [_instruction(_JUMP_EQUAL, number, 0, len(body)), *body]


def install_filter(program: bytes) -> None:
    """Put this process and all its threads under `program` for good; needs `no_new_privs`."""

    class SockFprog(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))

    argument = SockFprog(len(program) // 8, program)
    if libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(argument), 0, 0):
        raise OSError(ctypes.get_errno(), "the kernel refuses the system-call filter")


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)
