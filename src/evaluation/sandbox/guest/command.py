"""Run one untrusted command in its own process: its files and input, limits, then another program in its place."""

from __future__ import annotations

import marshal
import os
import resource
import stat
from typing import Any

from src.evaluation.sandbox.guest.confine import build_filter, filter_is_supported, install_filter
from src.evaluation.sandbox.protocol import NOT_STARTED, NOT_STARTED_MARK, STDIN_FILE

Files = dict[str, tuple[int, bytes]]  # name -> permissions, content
KEPT_BYTES = 256 << 20  # of a compiler's output; the directory itself is smaller, except without isolation


def run_command(program: int, out: int, errors: int, kept: Files) -> None:
    """Become a command; this process must be a fresh fork whose current directory is empty.

    Args:
        program: File descriptor of the marshaled job (see `ProcessJob.program`).
        out: File descriptor of standard output.
        errors: File descriptor of standard error.
        kept: Files of an earlier job of the same program.
    """
    try:
        try:
            with open(program, "rb") as file:
                job = marshal.load(file)
            files = kept | {name: (0o600, content) for name, content in job["files"].items()}
            write_files(files | {STDIN_FILE: (0o400, job["stdin"])})
            _connect(out, errors)
            _confine(job)
            command = job["command"]
            # Without /proc, the dynamic linker needs help with $ORIGIN, by which Java finds its libraries.
            origin = {"LD_ORIGIN_PATH": os.path.dirname(os.path.realpath(command[0]))}
            os.execve(command[0], command, {**os.environ, **origin, **job["environment"]})
        except BaseException as error:
            os.write(2, NOT_STARTED_MARK + f"{type(error).__name__}: {error}".encode("utf-8", "replace"))
    finally:  # never back to the server's code
        os._exit(NOT_STARTED)


def write_files(files: Files) -> None:
    """Write files into the current directory."""
    for name, (mode, content) in files.items():
        if os.path.dirname(name):
            os.makedirs(os.path.dirname(name), mode=0o700, exist_ok=True)
        with open(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode), "wb") as file:
            file.write(content)


def read_files(directory: str) -> Files:
    """Read the regular files below `directory`; links and all else are left out.

    Raises:
        OSError: They are too large, or cannot be read.
    """
    found: Files = {}
    size = 0
    for place, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(place, name)
            status = os.lstat(path)
            if not stat.S_ISREG(status.st_mode) or os.path.relpath(path, directory) == STDIN_FILE:
                continue
            size += status.st_size
            if size > KEPT_BYTES:
                raise OSError("the compiler wrote too much")
            with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
                content = file.read(status.st_size)
            found[os.path.relpath(path, directory)] = (stat.S_IMODE(status.st_mode) | 0o400, content)
    return found


def _connect(out: int, errors: int) -> None:
    stdin = os.open(STDIN_FILE, os.O_RDONLY)
    first = max(out, errors, stdin) + 1
    for target, descriptor in enumerate((stdin, out, errors)):  # through copies: one may be another's target
        os.dup2(descriptor, first + target)
    for target in range(3):
        os.dup2(first + target, target)
    os.closerange(3, 1 << 10)


def _confine(job: dict[str, Any]) -> None:
    os.setsid()  # its own process group, so that the server can end all of it
    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, job["file"]),
        (resource.RLIMIT_NOFILE, 256),
        (resource.RLIMIT_CPU, int(job["cpu"]) + 2),
        (resource.RLIMIT_NPROC, job["threads"]),
        (resource.RLIMIT_STACK, job["stack"]),
        (resource.RLIMIT_DATA, job["memory"]),
        (resource.RLIMIT_AS, job["address_space"]),
    ):
        _, hard = resource.getrlimit(limit)
        ceiling = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (ceiling, ceiling))
    if filter_is_supported():
        install_filter(build_filter(os.getpid(), execute=True, processes=job["processes"]))
