"""The server in the sandbox: it starts once, imports once, then forks one process per program.

It is process 1 of its own namespace, has no privileges, cannot be inspected or signaled by the programs, and ends them.
Since programs inherit its memory, it never reads a program: each process reads its own, after the fork.
After each program, no process or file of it may remain; otherwise the server says so and is replaced.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import marshal
import mmap
import os
import select
import shutil
import signal
import socket
import sys
import time
from typing import Any

from src.evaluation.sandbox import protocol
from src.evaluation.sandbox.guest import confine
from src.evaluation.sandbox.guest.command import Files, read_files, run_command
from src.evaluation.sandbox.guest.run import run_program

CONTROL_IN, CONTROL_OUT = 0, 1
POLL_MILLISECONDS = 10
COMMON = (
    "abc bisect cmath collections copy dataclasses datetime decimal enum fractions functools hashlib heapq itertools "
    "json math operator random re statistics string textwrap time types typing"
)


def main() -> None:
    """Set up with the marshaled settings from control in, report readiness, then serve until control in closes."""
    received = _receive()
    assert received is not None
    settings = received[0]
    sys.path[:] = [path for path in sys.path if path != settings["code"]]
    if settings["jail"]:
        names = ("visible", "links", "scratch", "scratch_bytes", "user", "execute")
        confine.enter_jail(**{name: settings[name] for name in names})
    _shed(settings)
    sys.path += settings["packages"]
    _import_all(COMMON.split())
    _send({"ready": True})
    kept: Files = {}  # what the compiler of the current program wrote
    while (received := _receive()) is not None:
        message, descriptors = received
        if "import" in message:
            _import_all(message["import"])
        else:
            kept = kept if message.get("process", {}).get("continues") else {}
            _send(_serve(message, descriptors, settings, kept))


def _shed(settings: dict[str, Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # process 1 ignores signals without a handler
    os.chdir(settings["scratch"])
    confine.forgo_privileges(settings["user"])


def _import_all(names: list[str]) -> None:
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # otherwise the garbage collector would touch, and thus copy, these pages in every fork


def _serve(limits: dict[str, Any], descriptors: list[int], settings: dict[str, Any], kept: Files) -> dict[str, Any]:
    """Run a program or a command; `kept` are files of its own, and receives those that it is to keep."""
    process = limits.get("process")
    page = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("I")
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        program, data, *errors = descriptors
        if process is None:
            run_program(program, data, page)
        run_command(program, data, errors[0], kept)
    for descriptor in descriptors:
        os.close(descriptor)
    reason = _watch(child, limits, page)
    if reason is None:  # the trusted side is gone; the namespace and everything in it end with process 1
        _kill(child, settings["alone"])
        os._exit(0)
    _kill(child, settings["alone"])
    _, status, usage = os.wait4(child, 0)
    clean = _reap_orphans() if settings["alone"] else True
    if process is not None and process["keep"] and status == 0:
        clean = _keep(kept, settings["scratch"]) and clean
    clean = _empty(settings["scratch"]) and clean
    return {
        "reason": reason,
        "status": status,
        "cpu": usage.ru_utime + usage.ru_stime,
        "wall": time.monotonic() - started,
        "memory": usage.ru_maxrss * 1024,
        "index": page[0],
        "clean": clean,
    }


def _keep(kept: Files, directory: str) -> bool:
    """Read the files of `directory` into `kept`; return False if that fails."""
    try:
        kept.update(read_files(directory))
    except (OSError, RecursionError):
        return False
    return True


def _watch(child: int, message: dict[str, Any], page: memoryview) -> str | None:
    """Wait until `child` ends or must be ended, and return the reason; None if the trusted side is gone."""
    watched = select.poll()
    handle = os.pidfd_open(child)
    try:
        watched.register(handle, select.POLLIN)
        watched.register(CONTROL_IN, select.POLLIN)
        limits = _Limits(child, message)
        while True:
            events = dict(watched.poll(POLL_MILLISECONDS))
            if handle in events:
                return protocol.EXITED
            if CONTROL_IN in events:
                return protocol.STOPPED if os.read(CONTROL_IN, 1) else None
            if reason := limits.broken(page[0]):
                return reason
    finally:
        os.close(handle)


class _Limits:
    """CPU and wall-clock limits, per input and for the whole program.

    A program could lie about which input it has reached, but it can only go forward, once past each input, and the
    limits of the whole program still hold. The trusted side ends a program whose outputs do not arrive.
    """

    def __init__(self, child: int, message: dict[str, Any]) -> None:
        self.clock = (~child << 3) | 2  # clock_getcpuclockid(3): CPU time of the process, all threads
        self.cpu_limits: list[float] = message["cpu_limits"]  # for loading, then for every input
        self.cpu_total: float = message["cpu"]
        self.wall_start = self.wall_mark = time.monotonic()
        self.cpu_mark = 0.0
        self.index = 0

    def broken(self, index: int) -> str | None:
        cpu, wall = time.clock_gettime(self.clock), time.monotonic()
        last = len(self.cpu_limits) - 1
        reached = min(index, last) if last else index
        if reached > self.index:
            self.index, self.cpu_mark, self.wall_mark = reached, cpu, wall
        limit = self.cpu_limits[min(self.index, last)]
        if cpu - self.cpu_mark > limit or cpu > self.cpu_total:
            return protocol.CPU_LIMIT
        whole = protocol.wall_limit(self.cpu_total)
        if wall - self.wall_mark > protocol.wall_limit(limit) or wall - self.wall_start > whole:
            return protocol.WALL_LIMIT
        return None


def _kill(child: int, alone: bool) -> None:
    with contextlib.suppress(ProcessLookupError):
        if alone:
            os.kill(-1, signal.SIGKILL)  # everything in this namespace except process 1
        else:
            os.kill(child, signal.SIGKILL)
            os.killpg(child, signal.SIGKILL)


def _reap_orphans() -> bool:
    """Collect all other processes that the program started; return True if there were none."""
    nothing = True
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
            nothing = False
    return nothing


def _empty(directory: str) -> bool:
    """Remove the program's files; return False if that fails, so that the whole sandbox is replaced."""
    try:
        os.chmod(directory, 0o700)
        for entry in os.scandir(directory):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
        return not os.listdir(directory)
    except (OSError, RecursionError):
        return False


def _receive() -> tuple[dict[str, Any], list[int]] | None:
    mark, descriptors = _mark()
    while mark == protocol.STOP:  # it crossed with our message that the program had already ended
        mark, descriptors = _mark()
    header = _read(protocol.LENGTH.size) if mark else None
    body = _read(*protocol.LENGTH.unpack(header)) if header else None
    return None if body is None else (marshal.loads(body), descriptors)


def _mark() -> tuple[bytes, list[int]]:
    control = socket.socket(fileno=CONTROL_IN)
    try:
        mark, descriptors, _, _ = socket.recv_fds(control, 1, 3)
        return mark, descriptors
    finally:
        control.detach()


def _read(size: int) -> bytes | None:
    parts = []
    while size:
        part = os.read(CONTROL_IN, min(size, 1 << 20))
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _send(message: dict[str, Any]) -> None:
    body = marshal.dumps(message, protocol.MARSHAL_VERSION)
    view = memoryview(protocol.LENGTH.pack(len(body)) + body)
    while view:
        view = view[os.write(CONTROL_OUT, view) :]
