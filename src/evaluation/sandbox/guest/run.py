"""Run one untrusted program in its own process: limits, code, inputs, one frame per output."""

from __future__ import annotations

import gc
import io
import marshal
import os
import resource
import sys
from time import perf_counter, process_time  # by name: a program may replace those of the module
from typing import Any

from src.evaluation.sandbox.guest.confine import build_filter, filter_is_supported, install_filter
from src.evaluation.sandbox.guest.encode import encode
from src.evaluation.sandbox.guest.load import NothingCompiles, describe, run_top_level
from src.evaluation.sandbox.guest.tests import ProgramTests
from src.evaluation.sandbox.protocol import FRAME, HINDERED, RAISED, UNPARSED, UNUSABLE

OWN_PIPE = 3
FLUSH_BYTES = 1 << 16
FLUSH_SECONDS = 0.01


def run_program(program: int, data: int, progress: memoryview) -> None:
    """Run a program in this process, which must be a fresh fork, and end the process.

    Args:
        program: File descriptor of the marshaled job: `candidates` (source texts, the first that compiles is run),
            `entry_point`, `inputs` (marshal of a list of argument lists), `inline` (bytes), `collect` (send iterators
            as lists), `memory` (bytes), `file` (bytes), `cpu` (seconds) and `tests` (None, or the arguments of
            `ProgramTests`: they run instead of the entry point, and their report is the only output).
        data: File descriptor for frames.
        progress: One unsigned integer shared with the server: 1 + the index of the input being run, 0 while loading.
    """
    try:
        with open(program, "rb") as file:
            job = marshal.load(file)
        _keep_only(data)
        frames = _Frames(OWN_PIPE)
        _run(job, frames, progress)
        frames.flush()
    finally:  # never back to the server's code
        os._exit(0)


def _run(job: dict[str, Any], frames: _Frames, progress: memoryview) -> None:
    try:
        inputs = marshal.loads(job["inputs"])
        _confine(job)
    except BaseException as error:
        frames.add(HINDERED, 0, 0.0, _describe(error))
        return
    try:
        if job["tests"] is None:
            function = _load(job["candidates"], job["entry_point"])
        else:
            function = ProgramTests(job["candidates"], job["entry_point"], **job["tests"]).run
    except NothingCompiles as error:
        frames.add(UNPARSED, 0, 0.0, _describe(error.args[0]))
    except BaseException as error:
        frames.add(UNUSABLE, 0, 0.0, _describe(error))
    else:
        _call_all(function, inputs, job["inline"], job["collect"], frames, progress)


def _call_all(
    function: Any, inputs: list[Any], inline: int, collect: bool, frames: _Frames, progress: memoryview
) -> None:
    for index, arguments in enumerate(inputs):
        progress[0] = index + 1
        started = process_time()
        try:
            output = function(*arguments)
        except BaseException as error:
            frames.add(RAISED, index, process_time() - started, _describe(error))
            return
        try:
            kind, body = encode(output, inline, collect)
        except BaseException as error:
            frames.add(HINDERED, index, process_time() - started, _describe(error))
            return
        # With the encoding, which counts against the limit too: a gigabyte of output takes seconds.
        frames.add(kind, index, process_time() - started, body)
        output = None


def _load(candidates: list[str], entry_point: str) -> Any:
    """Run the program's top level in an empty namespace, as EvalPlus does: `__name__` is not `__main__`."""
    namespace: dict[str, Any] = {}
    run_top_level(candidates, namespace)
    return namespace[entry_point]


def _keep_only(data: int) -> None:
    """Close all descriptors but the pipe for frames, which becomes `OWN_PIPE`."""
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    if data != OWN_PIPE:
        os.dup2(data, OWN_PIPE)
    os.closerange(OWN_PIPE + 1, 1 << 10)


def _confine(job: dict[str, Any]) -> None:
    os.setsid()  # its own process group, so that the server can end all of it
    sys.stdin, sys.stdout, sys.stderr = io.TextIOWrapper(open(0, "rb")), open(1, "w"), open(2, "w")  # noqa: SIM115
    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, job["file"]),
        (resource.RLIMIT_NOFILE, 128),
        (resource.RLIMIT_CPU, int(job["cpu"]) + 2),
        (resource.RLIMIT_NPROC, 256),
        (resource.RLIMIT_STACK, job["memory"]),
        (resource.RLIMIT_AS, job["memory"]),
    ):
        _, hard = resource.getrlimit(limit)
        ceiling = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (ceiling, ceiling))
    # With the default of 700 objects, programs that allocate a lot spend a third of their time in the garbage
    # collector.
    gc.set_threshold(50_000, 20, 100)
    if filter_is_supported():
        install_filter(build_filter(os.getpid()))


def _describe(error: BaseException) -> bytes:
    return describe(error).encode("utf-8", "replace")


class _Frames:
    """Buffer frames, so that a thousand small outputs cost only a few writes."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.parts: list[bytes] = []
        self.size = 0
        self.flushed_at = perf_counter()

    def add(self, kind: bytes, index: int, seconds: float, body: bytes) -> None:
        self.parts += (FRAME.pack(kind, index, seconds, len(body)), body)
        self.size += FRAME.size + len(body)
        if self.size > FLUSH_BYTES or perf_counter() - self.flushed_at > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        view = memoryview(b"".join(self.parts))
        self.parts, self.size = [], 0
        while view:
            view = view[os.write(self.descriptor, view) :]
        self.flushed_at = perf_counter()
