"""A system-call filter for the untrusted process: no new processes, no programs, no sockets, no kernel machinery.

The namespaces are the wall; this is the ditch before it. It also makes a program the only process it can be, so that a
memory limit on the process is a limit on the program. Threads are allowed.
"""

from __future__ import annotations

import ctypes
import platform
import struct

from src.evaluation.sandbox.guest.libc import libc

_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_EPERM, _EAGAIN, _ENOSYS = 1, 11, 38
_LOAD, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16  # offsets in struct seccomp_data
_CLONE_THREAD = 0x00010000
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
}  # fmt: skip
_CLONE, _CLONE3, _PRLIMIT = (56, 220), (435, 435), (302, 261)
_ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}


def is_supported() -> bool:
    """True where the filter knows the machine's system-call numbers."""
    return platform.system() == "Linux" and platform.machine() in _ARCHITECTURES


def build_filter() -> bytes:
    """The BPF program, an array of `struct sock_filter`, for this machine."""
    architecture, column = _ARCHITECTURES[platform.machine()]
    code = [
        _instruction(_LOAD, _ARCHITECTURE_AT),
        _instruction(_JUMP_EQUAL, architecture, 1, 0),
        _instruction(_RETURN, _KILL),
        _instruction(_LOAD, _NUMBER_AT),
        _instruction(_JUMP_GREATER_EQUAL, _X32_BIT, 0, 1),
        _instruction(_RETURN, _ERRNO | _ENOSYS),
    ]
    for numbers in _DENIED.values():
        if numbers[column] >= 0:
            code += [_instruction(_JUMP_EQUAL, numbers[column], 0, 1), _instruction(_RETURN, _ERRNO | _EPERM)]
    # The C library tries clone3 first, whose flags a filter cannot see, and then clone, whose flags it can.
    code += [_instruction(_JUMP_EQUAL, _CLONE3[column], 0, 1), _instruction(_RETURN, _ERRNO | _ENOSYS)]
    code += [
        _instruction(_JUMP_EQUAL, _CLONE[column], 0, 4),
        _instruction(_LOAD, _ARGUMENTS_AT),
        _instruction(_JUMP_SET, _CLONE_THREAD, 1, 0),
        _instruction(_RETURN, _ERRNO | _EAGAIN),
        _instruction(_RETURN, _ALLOW),
    ]
    code += [  # its own limits a program may lower; those of process 1 it may not
        _instruction(_JUMP_EQUAL, _PRLIMIT[column], 0, 3),
        _instruction(_LOAD, _ARGUMENTS_AT),
        _instruction(_JUMP_EQUAL, 0, 1, 0),
        _instruction(_RETURN, _ERRNO | _EPERM),
    ]
    return b"".join([*code, _instruction(_RETURN, _ALLOW)])


def install(program: bytes) -> None:
    """Put this process and all its later threads under `program` for good; needs `no_new_privs`."""

    class SockFprog(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))

    argument = SockFprog(len(program) // 8, program)
    if libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(argument), 0, 0):
        raise OSError(ctypes.get_errno(), "the kernel refuses the system-call filter")


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)
