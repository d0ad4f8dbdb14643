"""Inside fresh namespaces: a root directory that holds nothing but read-only system files and an empty scratch."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence

from src.evaluation.sandbox.guest.libc import call

_RDONLY, _NOSUID, _NODEV, _NOEXEC = 1, 2, 4, 8
_REMOUNT, _BIND, _REC, _DETACH = 32, 4096, 16384, 2
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
DEVICES = ("null", "zero", "full", "random", "urandom")
_STAGE = "/tmp"  # exists everywhere; only this mount namespace sees what is mounted over it


def enter_jail(visible: Sequence[str], scratch: str, scratch_bytes: int, user: int) -> None:
    """Replace the root directory; needs a private mount namespace and the right to mount in it.

    Args:
        visible: Absolute paths of files and directories to show read-only at the same place; symbolic links are copied.
        scratch: The one place that can be written.
        scratch_bytes: Its size.
        user: Its owner.

    Raises:
        OSError: A mount was refused.
    """
    os.umask(0o022)  # directories made here must be passable for another user
    links = {path: os.readlink(path) for path in visible if os.path.islink(path)}
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
    _mount("tmpfs", _STAGE + scratch, "tmpfs", _NOSUID | _NODEV | _NOEXEC, options)
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
    call("pivot_root", b".", b".")  # the old root now lies over the new one
    call("umount2", b".", _DETACH)
    os.chdir("/")
    call("mount", None, b"/", None, ctypes.c_ulong(_REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV), None)
