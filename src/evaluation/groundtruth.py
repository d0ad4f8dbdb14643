"""What the reference solutions answer, and how long they take on this machine; kept on disk by content."""

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
from typing import Any

import numpy as np

from src.evaluation.oracles import Oracle, is_floats
from src.evaluation.problems import Problem
from src.evaluation.sandbox import protocol
from src.evaluation.sandbox.decode import decode
from src.evaluation.sandbox.jobs import Frame, Job
from src.evaluation.sandbox.pool import Sandbox
from src.evaluation.sandbox.worker import Worker
from src.utils.errors import UserError, first_differences

CACHE_VERSION = 1
FULL_BYTES = 16 << 20  # of a longer output only the digest is kept: it must be matched to the bit
SMALL_BYTES = 1 << 16  # longer ones are kept compressed
REFERENCE_SECONDS = 120.0  # CPU, a suite: reference solutions are trusted to end
_NANS = (b"g\x00\x00\x00\x00\x00\x00\xf8\x7f", b"g\x00\x00\x00\x00\x00\x00\xf8\xff")


@dataclass(frozen=True)
class Expected:
    """One expected output.

    Attributes:
        kind: `protocol.PLAIN` or `protocol.TAGGED`.
        size: Length of its bytes.
        digest: BLAKE2b-128 of its bytes.
        packed: The bytes, compressed where longer than `SMALL_BYTES`; None where longer than `FULL_BYTES`.
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
        """Its bytes, where they were kept."""
        if self.packed is None or self.size <= SMALL_BYTES:
            return self.packed
        return zlib.decompress(self.packed)


@dataclass(frozen=True)
class Suite:
    """Expected outputs of one list of inputs.

    Attributes:
        expected: One an input.
        seconds: CPU seconds of the reference solution, one an input.
        first_float: Index of the first expected output that consists of floats; len(expected) if none does.
    """

    expected: tuple[Expected, ...]
    seconds: tuple[float, ...]
    first_float: int


@dataclass(frozen=True)
class Truth:
    """Both suites of a problem."""

    base: Suite
    plus: Suite

    @property
    def seconds(self) -> float:
        """CPU seconds of the reference solution over both suites."""
        return sum(self.base.seconds) + sum(self.plus.seconds)


def default_cache() -> Path:
    """`$XDG_CACHE_HOME/mixmerge/groundtruth`, by default below `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mixmerge" / "groundtruth"


def ground_truths(problems: Sequence[Problem], sandbox: Sandbox, cache: Path | None = None) -> list[Truth]:
    """The truths of `problems`, from the cache or by running the reference solutions in `sandbox`.

    Args:
        problems: Problems.
        sandbox: Runs what is not in the cache.
        cache: Directory; None is `default_cache()`.

    Raises:
        UserError: A reference solution fails on its own inputs.
    """
    folder = cache or default_cache()
    paths = [folder / f"{_key(problem)}.truth" for problem in problems]
    truths = {path: truth for path in paths if (truth := _read(path)) is not None}
    missing = [(problem, path) for problem, path in zip(problems, paths, strict=True) if path not in truths]
    computed = sandbox.map(_compute, [problem for problem, _ in missing])
    failures = [outcome for outcome in computed if isinstance(outcome, str)]
    if failures:
        raise UserError(first_differences("reference solutions fail on their own inputs", failures))
    for (_, path), outcome in zip(missing, computed, strict=True):
        assert isinstance(outcome, Truth)
        _write(path, outcome)
        truths[path] = outcome
    return [truths[path] for path in paths]


def _key(problem: Problem) -> str:
    """Content, and what else the answers or the times depend on."""
    machine = (platform.python_version(), np.__version__, platform.node(), platform.machine())
    return hashlib.sha256(repr((CACHE_VERSION, problem.fingerprint(), machine)).encode()).hexdigest()


def _compute(worker: Worker, problem: Problem) -> Truth | str:
    suites = []
    for inputs in (problem.base_input, problem.plus_input):
        outcome = _run_reference(worker, problem, inputs)
        if isinstance(outcome, str):
            return f"{problem.task_id}: {outcome}"
        suites.append(outcome)
    return Truth(*suites)


def _run_reference(worker: Worker, problem: Problem, inputs: list[Any]) -> Suite | str:
    oracle = Oracle(problem)
    expected: list[Expected] = []
    seconds: list[float] = []
    problems: list[str] = []

    def take(frame: Frame) -> bool:
        if frame.kind in (protocol.RAISED, protocol.UNUSABLE):
            problems.append(frame.body.decode("utf-8", "replace"))
            return False
        expected.append(_expected(frame, oracle.only_not_none))
        seconds.append(frame.seconds)
        return True

    job = Job(
        candidates=(problem.prompt + problem.canonical_solution,),
        entry_point=problem.entry_point,
        inputs=marshal.dumps(inputs, protocol.MARSHAL_VERSION),
        cpu_limits=(REFERENCE_SECONDS,),
        cpu_total=REFERENCE_SECONDS,
        memory=1 << 33,
        inline=FULL_BYTES,
    )
    end = worker.run(job, take)
    if problems or len(expected) != len(inputs):
        return problems[0] if problems else f"ended early ({end.reason}, status {end.status})"
    floats = next((index for index, item in enumerate(expected) if item.floats), len(expected))
    return Suite(tuple(expected), tuple(seconds), floats)


def _expected(frame: Frame, only_not_none: bool) -> Expected:
    kind, body = frame.kind, frame.body
    if only_not_none:
        kind, body = protocol.PLAIN, marshal.dumps(decode(kind, body) is not None, protocol.MARSHAL_VERSION)
    if kind == protocol.DIGEST:
        kind, size, digest = protocol.DIGEST_BODY.unpack(body)
        return Expected(kind, size, digest, None, exact=kind == protocol.PLAIN, floats=False)
    plain = kind == protocol.PLAIN
    return Expected(
        kind,
        len(body),
        hashlib.blake2b(body, digest_size=16).digest(),
        zlib.compress(body, 1) if len(body) > SMALL_BYTES else body,
        exact=plain and not any(nan in body for nan in _NANS),
        floats=plain and is_floats(body),
    )


def _read(path: Path) -> Truth | None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    if hashlib.sha256(content[32:]).digest() != content[:32]:
        return None  # cut short by a full disk or a kill; written again
    suites = (
        Suite(tuple(Expected(*item) for item in expected), tuple(seconds), first_float)
        for expected, seconds, first_float in marshal.loads(content[32:])
    )
    return Truth(*suites)


def _write(path: Path, truth: Truth) -> None:
    rows = [
        ([(e.kind, e.size, e.digest, e.packed, e.exact, e.floats) for e in s.expected], s.seconds, s.first_float)
        for s in (truth.base, truth.plus)
    ]
    content = marshal.dumps(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:  # no fsync: a broken file is noticed by its digest
            file.write(hashlib.sha256(content).digest() + content)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
