"""Ways to start the sandboxed server: bubblewrap, util-linux `unshare`, or no isolation."""

from __future__ import annotations

import os
import shutil
import site
import sys
import sysconfig
from dataclasses import dataclass, replace
from pathlib import Path

import src
from src.evaluation.sandbox.protocol import STDIN_FILE
from src.utils.errors import UserError, unknown_choice

ISOLATIONS = ("auto", "bubblewrap", "unshare", "unsafe")
SCRATCH = "/scratch"  # not /tmp, where a checkout and its packages may be
SCRATCH_BYTES = 64 << 20
# If memory runs out, the kernel should end a generated program, not the user's work or another worker.
_VICTIM = ("/bin/sh", "-c", 'echo 800 2>/dev/null >/proc/self/oom_score_adj; exec "$@"', "sh")
_FIRST_USER = 1 << 30  # far above all real user numbers; one per worker
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/alternatives", "/nix/store")
_START = "import sys; sys.path.insert(0, sys.argv[1]); from src.evaluation.sandbox.guest.serve import main; main()"


@dataclass(frozen=True)
class Extra:
    """Additions to a sandbox for commands.

    Attributes:
        commands: It runs commands: files in the scratch directory may be executed, and `/dev/stdin` exists.
        visible: Files and directories that programs see besides `visible_paths`, read-only.
        scratch_bytes: Size of the scratch directory.
    """

    commands: bool = False
    visible: tuple[str, ...] = ()
    scratch_bytes: int = SCRATCH_BYTES

    def links(self) -> dict[str, str]:
        """Return symbolic links and what they lead to; there is no `/proc` to do it."""
        return {"/dev/stdin": f"{SCRATCH}/{STDIN_FILE}"} if self.commands else {}


@dataclass(frozen=True)
class Launch:
    """Command line of the server, and the steps that the server performs itself.

    Attributes:
        name: One of `ISOLATIONS`.
        command: Program and arguments.
        jail: The server builds its own root directory (it has the right to mount).
        alone: The server is process 1 of its own namespace.
        drop: The server is root outside too and must become another user, because the kernel counts processes per user.
        extra: Additions for commands.
    """

    name: str
    command: tuple[str, ...]
    jail: bool
    alone: bool
    drop: bool = False
    extra: Extra = Extra()

    def with_extra(self, extra: Extra) -> Launch:
        """Return the same way to isolate, with additions for commands."""
        changed = replace(self, extra=extra)
        if self.name == "bubblewrap" and (path := shutil.which("bwrap")):
            return replace(changed, command=_bubblewrap(path, extra))
        return changed

    def settings(self, directory: str, number: int) -> dict[str, object]:
        """Return the first message to the server.

        Args:
            directory: Where programs run and may write.
            number: Of the worker, different from those of all others in this process.
        """
        return {
            "jail": self.jail,
            "alone": self.alone,
            "visible": visible_paths(self.extra),
            "links": self.extra.links(),
            "scratch": directory,
            "scratch_bytes": self.extra.scratch_bytes,
            "execute": self.extra.commands,
            "packages": package_directories(),
            "code": _code_directory(),
            "user": _FIRST_USER + number + (os.getpid() << 8) % (1 << 28) if self.drop else 0,
        }


def find_launches(isolation: str) -> list[Launch]:
    """List the launches to try on this machine, best first.

    Args:
        isolation: One of `ISOLATIONS`; `auto` is bubblewrap where installed, else `unshare` (for root the reverse).

    Raises:
        UserError: An unknown name, or nothing on this machine can isolate a program.
    """
    if isolation not in ISOLATIONS:
        raise unknown_choice("isolation", isolation, list(ISOLATIONS))
    found = []
    unshare = shutil.which("unshare") if isolation in ("auto", "unshare") else None
    if unshare and os.geteuid() == 0:  # better for root than a user namespace, where it would remain root outside
        found.append(Launch("unshare", _unshare(unshare, user=False), jail=True, alone=True, drop=True))
    if isolation in ("auto", "bubblewrap") and (path := shutil.which("bwrap")):
        found.append(Launch("bubblewrap", _bubblewrap(path, Extra()), jail=False, alone=True))
    if unshare:
        found.append(Launch("unshare", _unshare(unshare, user=True), jail=True, alone=True))
    if isolation == "unsafe":
        found.append(Launch("unsafe", (*_VICTIM, *_python()), jail=False, alone=False))
    if not found:
        raise refusal([f"no {'bwrap or unshare' if isolation == 'auto' else isolation} on the PATH"])
    return found


def refusal(reasons: list[str]) -> UserError:
    """Return the error for a machine on which programs cannot be isolated."""
    return UserError(
        f"cannot run generated programs safely here ({'; '.join(reasons)}). Install bubblewrap "
        "(apt install bubblewrap), or allow user namespaces, or accept the risk with sandbox=unsafe"
    )


def visible_paths(extra: Extra | None = None) -> list[str]:
    """List the parts of the file system that a program sees, read-only: system libraries, this Python, its packages."""
    prefix = os.path.realpath(sys.base_prefix)  # not the whole of it: it may be somebody's ~/.local
    python = {f"{prefix}/lib", f"{prefix}/lib64", os.path.realpath(sys.executable)}
    own = {path for path in python | set(package_directories()) if not path.startswith("/usr/")}
    added = extra.visible if extra else ()
    return [path for path in dict.fromkeys((*_SYSTEM, *added, *sorted(own))) if os.path.lexists(path)]


def environment(hash_seed: int = 0) -> dict[str, str]:
    """Return the complete environment of a program; it contains nothing from the user's.

    Args:
        hash_seed: Determines the order of sets of strings.
    """
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": SCRATCH,
        "TMPDIR": SCRATCH,
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": str(hash_seed),
        **threads,
    }


def _bubblewrap(path: str, extra: Extra) -> tuple[str, ...]:
    # No --die-with-parent: for the kernel, the parent is the thread that started the process, and our threads come and
    # go. The server ends when its input closes.
    arguments = [path, "--unshare-user", "--unshare-all", "--as-pid-1", "--new-session", "--cap-drop", "ALL"]
    arguments += ["--hostname", "sandbox"]
    for shown in visible_paths(extra):
        link = os.path.islink(shown)
        arguments += ["--symlink", os.readlink(shown), shown] if link else ["--ro-bind", shown, shown]
    for name in ("null", "zero", "full", "random", "urandom"):
        arguments += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    for place, target in extra.links().items():
        arguments += ["--symlink", target, place]
    for part in ("src/__init__.py", "src/evaluation/__init__.py", "src/evaluation/sandbox"):
        arguments += ["--ro-bind", *[os.path.join(_code_directory(), part)] * 2]
    arguments += ["--size", str(extra.scratch_bytes), "--tmpfs", SCRATCH, "--remount-ro", "/", "--chdir", SCRATCH, "--"]
    return (*_VICTIM, *arguments, *_python())


def _unshare(path: str, user: bool) -> tuple[str, ...]:
    own_user = ("--user", "--map-root-user") if user else ()
    spaces = ("--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup")
    return (*_VICTIM, path, *own_user, *spaces, "--fork", "--kill-child", "--propagation", "private", "--", *_python())


def _python() -> tuple[str, ...]:
    # No -I: it would ignore PYTHONHASHSEED, without which the order of sets changes from run to run.
    return (os.path.realpath(sys.executable), "-s", "-S", "-P", "-c", _START, _code_directory())


def _code_directory() -> str:
    return str(Path(src.__path__[0]).resolve().parent)


def package_directories() -> list[str]:
    """List the directories with this Python's packages."""
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()}
    return sorted({os.path.realpath(path) for path in paths if os.path.isdir(path)})
