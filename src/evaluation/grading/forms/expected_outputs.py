"""Outputs and run times of the reference solutions on this machine, cached on disk by content.

Run times are part of the cache because a test's time limit is a multiple of them.
"""

from __future__ import annotations

import contextlib
import hashlib
import marshal
import os
import platform
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from src.evaluation.grading.forms.oracles import Oracle, is_floats
from src.evaluation.grading.forms.problems import Problem
from src.evaluation.sandbox import protocol
from src.evaluation.sandbox.decode import decode
from src.evaluation.sandbox.jobs import Frame, Job
from src.evaluation.sandbox.pool import Sandbox
from src.evaluation.sandbox.worker import Worker
from src.utils.errors import UserError, first_differences
from src.utils.files import user_cache

CACHE_VERSION = 3
REFERENCE_SECONDS = 120.0  # of CPU time per suite; reference solutions are trusted to terminate
FULL_BYTES = 16 << 20  # for longer outputs, only the digest is kept: a program must match it bit for bit
# With a NaN, equal bytes are not equal values, so such an output is compared value by value.
_NANS = (b"g\x00\x00\x00\x00\x00\x00\xf8\x7f", b"g\x00\x00\x00\x00\x00\x00\xf8\xff")
SMALL_BYTES = 1 << 16  # for longer outputs, the digest is kept; the compressed bytes only when they are needed
DIGEST_BYTES = 32


class ExpectedOutput(NamedTuple):
    """One expected output.

    Attributes:
        kind: `protocol.PLAIN` or `protocol.TAGGED`.
        size: Length of its bytes.
        digest: BLAKE2b-128 of its bytes.
        packed: The bytes, compressed if longer than `SMALL_BYTES`; None if they are not kept.
        exact: Equal bytes mean equal values (not so with NaN, or outside the built-in types).
        floats: EvalPlus's `is_floats`.
    """

    kind: bytes
    size: int
    digest: bytes
    packed: bytes | None
    exact: bool
    floats: bool

    def body(self) -> bytes | None:
        """Return its bytes, or None if they were not kept."""
        if self.packed is None or self.size <= SMALL_BYTES:
            return self.packed
        return zlib.decompress(self.packed)


@dataclass(frozen=True)
class Suite:
    """Expected outputs of one list of inputs.

    Attributes:
        expected: One per input.
        seconds: CPU seconds of the reference solution and of encoding its output, one per input.
        first_float: Index of the first expected output that consists of floats; len(expected) if none does.
    """

    expected: tuple[ExpectedOutput, ...]
    seconds: tuple[float, ...]
    first_float: int


@dataclass(frozen=True)
class ExpectedOutputs:
    """Expected outputs of both suites of a problem."""

    base: Suite
    plus: Suite

    @property
    def seconds(self) -> float:
        """CPU seconds that the reference solution took over both suites."""
        return sum(self.base.seconds) + sum(self.plus.seconds)


def default_cache() -> Path:
    """`$XDG_CACHE_HOME/mixmerge/groundtruth`, by default in `~/.cache`."""
    return user_cache("groundtruth")


def expected_outputs(problems: Sequence[Problem], sandbox: Sandbox, cache: Path | None = None) -> list[ExpectedOutputs]:
    """Read the expected outputs of `problems` from the cache, or run the reference solutions in `sandbox`.

    Args:
        problems: Problems.
        sandbox: Runs reference solutions that are not in the cache.
        cache: Directory; None: `default_cache()`.

    Raises:
        UserError: A reference solution fails on its own inputs.
    """
    paths = [_path(problem, cache) for problem in problems]
    found = {path: outputs for path in paths if (outputs := read_outputs(path)) is not None}
    missing = [(problem, path) for problem, path in zip(problems, paths, strict=True) if path not in found]
    computed = sandbox.map(_compute, [problem for problem, _ in missing])
    failures = [result for result in computed if isinstance(result, str)]
    if failures:
        raise UserError(first_differences("reference solutions fail on their own inputs", failures))
    for (_, path), result in zip(missing, computed, strict=True):
        assert isinstance(result, ExpectedOutputs)
        write_outputs(path, result)
        found[path] = result
    return [found[path] for path in paths]


def with_long_outputs(problem: Problem, worker: Worker, cache: Path | None = None) -> ExpectedOutputs:
    """Return a problem's expected outputs up to `FULL_BYTES` each, for programs whose outputs differ bytewise.

    Args:
        problem: A problem that `expected_outputs` knows.
        worker: Runs the reference solution unless its outputs are cached.
        cache: As for `expected_outputs`.

    Raises:
        UserError: The reference solution fails.
    """
    path = _path(problem, cache).with_suffix(".long")
    if (known := read_outputs(path)) is not None:
        return known
    computed = _compute(worker, problem, FULL_BYTES)
    if isinstance(computed, str):
        raise UserError(f"a reference solution fails on its own inputs: {computed}")
    write_outputs(path, computed)
    return computed


def _path(problem: Problem, cache: Path | None) -> Path:
    """Name the file by the problem's content and everything that its outputs or run times depend on."""
    machine = (platform.python_version(), np.__version__, platform.node(), platform.machine())
    key = hashlib.sha256(repr((CACHE_VERSION, problem.fingerprint(), machine)).encode()).hexdigest()
    return (cache or default_cache()) / f"{key}.truth"


def _compute(worker: Worker, problem: Problem, kept: int = SMALL_BYTES) -> ExpectedOutputs | str:
    """Run the reference solution; for outputs longer than `kept` bytes, only the digest is kept.

    Returns:
        The outputs, or the reason why the solution failed.
    """
    suites = []
    for inputs, packed in ((problem.base_input, problem.packed_base), (problem.plus_input, problem.packed_plus)):
        suite = _run_reference(worker, problem, packed, len(inputs), kept)
        if isinstance(suite, str):
            return f"{problem.task_id}: {suite}"
        suites.append(suite)
    return ExpectedOutputs(*suites)


def _run_reference(worker: Worker, problem: Problem, inputs: bytes, count: int, kept: int) -> Suite | str:
    oracle = Oracle(problem)
    expected: list[ExpectedOutput] = []
    seconds: list[float] = []
    problems: list[str] = []

    def take(frame: Frame) -> bool:
        if frame.kind in protocol.FAILURES:
            problems.append(frame.body.decode("utf-8", "replace"))
            return False
        expected.append(_expected(frame, oracle.only_not_none, kept))
        seconds.append(frame.seconds)
        return True

    job = Job(
        candidates=(problem.prompt + problem.canonical_solution,),
        entry_point=problem.entry_point,
        inputs=inputs,
        cpu_limits=(REFERENCE_SECONDS,),
        cpu_total=REFERENCE_SECONDS,
        memory=1 << 33,
        inline=FULL_BYTES,
        trusted=True,
    )
    end = worker.run(job, take)
    if problems or len(expected) != count:
        return problems[0] if problems else f"ended early ({end.reason}, status {end.status})"
    floats = next((index for index, item in enumerate(expected) if item.floats), len(expected))
    return Suite(tuple(expected), tuple(seconds), floats)


def _expected(frame: Frame, only_not_none: bool, kept: int) -> ExpectedOutput:
    kind, body = frame.kind, frame.body
    if only_not_none:
        kind, body = protocol.PLAIN, marshal.dumps(decode(kind, body) is not None, protocol.MARSHAL_VERSION)
    if kind == protocol.DIGEST:
        kind, size, digest = protocol.DIGEST_BODY.unpack(body)
        return ExpectedOutput(kind, size, digest, None, exact=kind == protocol.PLAIN, floats=False)
    plain = kind == protocol.PLAIN
    return ExpectedOutput(
        kind,
        len(body),
        hashlib.blake2b(body, digest_size=16).digest(),
        None if len(body) > kept else zlib.compress(body, 1) if len(body) > SMALL_BYTES else body,
        exact=plain and not any(nan in body for nan in _NANS),
        floats=plain and is_floats(body),
    )


def read_outputs(path: Path) -> ExpectedOutputs | None:
    """Read a file from `write_outputs`; None if there is none, or if a full disk or a kill truncated it."""
    try:
        content = path.read_bytes()
    except OSError:  # none, or one that cannot be read
        return None
    if hashlib.sha256(content[DIGEST_BYTES:]).digest() != content[:DIGEST_BYTES]:
        return None
    return ExpectedOutputs(
        *(
            Suite(tuple(map(ExpectedOutput._make, expected)), tuple(seconds), first_float)
            for expected, seconds, first_float in marshal.loads(content[DIGEST_BYTES:])
        )
    )


def write_outputs(path: Path, outputs: ExpectedOutputs) -> None:
    """Write `outputs` to `path`, completely or not at all."""
    content = marshal.dumps(
        [
            ([tuple(item) for item in suite.expected], suite.seconds, suite.first_float)
            for suite in (outputs.base, outputs.plus)
        ]
    )
    with contextlib.suppress(OSError):  # a cache that cannot be written only costs time
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:  # no fsync: its digest reveals a broken file
                file.write(hashlib.sha256(content).digest() + content)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
