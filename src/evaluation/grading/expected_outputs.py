"""What the reference solutions answer, and how long they take on this machine; kept on disk by content."""

from __future__ import annotations

import hashlib
import marshal
import os
import platform
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from src.evaluation.grading.oracles import Oracle, is_floats
from src.evaluation.grading.problems import Problem
from src.evaluation.grading.truths import SMALL_BYTES, Expected, Suite, Truth, read_truth, write_truth
from src.evaluation.sandbox import protocol
from src.evaluation.sandbox.decode import decode
from src.evaluation.sandbox.jobs import Frame, Job
from src.evaluation.sandbox.pool import Sandbox
from src.evaluation.sandbox.worker import Worker
from src.utils.errors import UserError, first_differences

CACHE_VERSION = 2
FULL_BYTES = 16 << 20  # of a longer output only the digest is kept: it must be matched to the bit
REFERENCE_SECONDS = 120.0  # CPU, a suite: reference solutions are trusted to end
_NANS = (b"g\x00\x00\x00\x00\x00\x00\xf8\x7f", b"g\x00\x00\x00\x00\x00\x00\xf8\xff")


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
    paths = [_path(problem, cache) for problem in problems]
    truths = {path: truth for path in paths if (truth := read_truth(path)) is not None}
    missing = [(problem, path) for problem, path in zip(problems, paths, strict=True) if path not in truths]
    computed = sandbox.map(_compute, [problem for problem, _ in missing])
    failures = [outcome for outcome in computed if isinstance(outcome, str)]
    if failures:
        raise UserError(first_differences("reference solutions fail on their own inputs", failures))
    for (_, path), outcome in zip(missing, computed, strict=True):
        assert isinstance(outcome, Truth)
        write_truth(path, outcome)
        truths[path] = outcome
    return [truths[path] for path in paths]


def with_long_outputs(problem: Problem, worker: Worker, cache: Path | None = None) -> Truth:
    """The truth of a problem with all outputs up to `FULL_BYTES`, for programs whose own differ from them bit by bit.

    Args:
        problem: A problem that `ground_truths` knows.
        worker: Runs the reference solution, unless that is in the cache.
        cache: As for `ground_truths`.

    Raises:
        UserError: The reference solution fails now.
    """
    path = _path(problem, cache).with_suffix(".long")
    truth = read_truth(path)
    if truth is None:
        outcome = _compute(worker, problem, FULL_BYTES)
        if isinstance(outcome, str):
            raise UserError(f"a reference solution fails on its own inputs: {outcome}")
        write_truth(path, outcome)
        truth = outcome
    return truth


def _path(problem: Problem, cache: Path | None) -> Path:
    """Named by content, and what else the answers or the times depend on."""
    machine = (platform.python_version(), np.__version__, platform.node(), platform.machine())
    key = hashlib.sha256(repr((CACHE_VERSION, problem.fingerprint(), machine)).encode()).hexdigest()
    return (cache or default_cache()) / f"{key}.truth"


def _compute(worker: Worker, problem: Problem, kept: int = SMALL_BYTES) -> Truth | str:
    """By running the reference solution; of outputs longer than `kept` bytes only the digest is kept."""
    suites = []
    for inputs, packed in ((problem.base_input, problem.packed_base), (problem.plus_input, problem.packed_plus)):
        outcome = _run_reference(worker, problem, packed, len(inputs), kept)
        if isinstance(outcome, str):
            return f"{problem.task_id}: {outcome}"
        suites.append(outcome)
    return Truth(*suites)


def _run_reference(worker: Worker, problem: Problem, inputs: bytes, count: int, kept: int) -> Suite | str:
    oracle = Oracle(problem)
    expected: list[Expected] = []
    seconds: list[float] = []
    problems: list[str] = []

    def take(frame: Frame) -> bool:
        if frame.kind in (protocol.RAISED, protocol.UNUSABLE):
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
    )
    end = worker.run(job, take)
    if problems or len(expected) != count:
        return problems[0] if problems else f"ended early ({end.reason}, status {end.status})"
    floats = next((index for index, item in enumerate(expected) if item.floats), len(expected))
    return Suite(tuple(expected), tuple(seconds), floats)


def _expected(frame: Frame, only_not_none: bool, kept: int) -> Expected:
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
        None if len(body) > kept else zlib.compress(body, 1) if len(body) > SMALL_BYTES else body,
        exact=plain and not any(nan in body for nan in _NANS),
        floats=plain and is_floats(body),
    )
