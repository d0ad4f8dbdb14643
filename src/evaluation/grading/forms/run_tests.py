"""Run one program on one list of inputs and compare its outputs with the expected ones as they arrive."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from src.evaluation.grading.forms.expected_outputs import (
    FULL_BYTES,
    SMALL_BYTES,
    ExpectedOutput,
    Suite,
    with_long_outputs,
)
from src.evaluation.grading.forms.oracles import Oracle
from src.evaluation.grading.forms.problems import Problem
from src.evaluation.grading.forms.result import (
    FAIL,
    FAILED_IN,
    LOAD_SECONDS,
    LONGEST_REASON,
    PASS,
    SCARCITY,
    SHORT,
    TIMEOUT,
    Failure,
    SuiteResult,
)
from src.evaluation.sandbox import protocol
from src.evaluation.sandbox.decode import Undecodable, decode
from src.evaluation.sandbox.jobs import End, Frame, Job
from src.evaluation.sandbox.pool import Sandbox
from src.evaluation.sandbox.worker import Worker, WorkerDied

SUITE_SECONDS = 60.0  # CPU time for a whole suite (EvalPlus's cap); more if the reference solution is slow
LONG_BYTES = 1 << 20


def run_suite(
    worker: Worker,
    candidates: tuple[str, ...],
    problem: Problem,
    plus: bool,
    suite: Suite,
    sandbox: Sandbox,
    cache: Path | None,
) -> SuiteResult:
    """Run a program on one list of inputs.

    For a large output, the program sends a digest. If that differs from the expected one, the program runs again and
    sends the whole output, which may still be correct within the tolerance.

    Args:
        worker: Where it runs.
        candidates: The program's texts.
        problem: Its problem.
        plus: Use `problem.plus_input`; False: `problem.base_input`.
        suite: Expected outputs.
        sandbox: Provides the limits.
        cache: Directory of expected outputs.
    """
    inputs, packed = (problem.plus_input, problem.packed_plus) if plus else (problem.base_input, problem.packed_base)
    inline, deaths = SMALL_BYTES, 0
    longest = max((_longest_right(expected) for expected in suite.expected), default=0)
    while deaths < 2:
        checker = _OutputChecker(Oracle(problem), inputs, suite)
        try:
            end = worker.run(_job(candidates, problem, packed, suite, sandbox, inline), checker)
        except WorkerDied:
            deaths += 1
            continue
        if checker.wants_full and inline < longest:
            inline = longest
            whole = with_long_outputs(problem, worker, cache)
            suite = dataclasses.replace(suite, expected=(whole.plus if plus else whole.base).expected)
            continue
        result = checker.conclude(end)
        return dataclasses.replace(result, failure=checker.failure(result))
    return SuiteResult(FAIL, "the sandbox ended twice", doubtful=True)


def _longest_right(expected: ExpectedOutput) -> int:
    """Bytes up to which an output is compared in full: a right one has few bytes more than the expected."""
    return min(FULL_BYTES, max(LONG_BYTES, 8 * expected.size))


def _job(
    candidates: tuple[str, ...], problem: Problem, inputs: bytes, suite: Suite, sandbox: Sandbox, inline: int
) -> Job:
    limits = [max(sandbox.min_time_limit, sandbox.gt_time_limit_factor * seconds) for seconds in suite.seconds]
    longest = max(SUITE_SECONDS, sandbox.gt_time_limit_factor * sum(suite.seconds))
    return Job(
        candidates=candidates,
        entry_point=problem.entry_point,
        inputs=inputs,
        cpu_limits=(LOAD_SECONDS, *limits),
        cpu_total=LOAD_SECONDS + min(longest, sum(limits)),
        memory=sandbox.memory_mb << 20,
        inline=inline,
        collect=Oracle(problem).as_sets,  # `set(output)` in EvalPlus, for anything that can be iterated over
    )


class _OutputChecker:
    """Compare each output with the expected one as it arrives; False ends the program."""

    def __init__(self, oracle: Oracle, inputs: list[Any], suite: Suite) -> None:
        self.oracle = oracle
        self.inputs = inputs
        self.suite = suite
        self.right = 0
        self.wants_full = False
        self.why = ""
        self.doubtful = False
        self.failed_in = ""
        self.got = ""

    def __call__(self, frame: Frame) -> bool:
        if frame.kind in protocol.FAILURES:
            self.failed_in = FAILED_IN.get(frame.kind, "")
            where = f"input {self.right}: " if frame.kind in (protocol.RAISED, protocol.OVERLONG) else ""
            body = b"an output beyond its limit" if frame.kind == protocol.OVERLONG else frame.body
            self.why = where + body[:LONGEST_REASON].decode("utf-8", "replace")
            self.doubtful = frame.kind == protocol.HINDERED or frame.body.startswith(SCARCITY)
            return False
        if frame.index != self.right or self.right >= len(self.inputs):
            self.why = "more outputs than inputs"
            return False
        if not self._is_right(frame, self.suite.expected[self.right]):
            self.why = f"input {self.right}: wrong output"
            self.got = _shown(frame.kind, frame.body)
            return False
        self.right += 1
        return True

    def conclude(self, end: End) -> SuiteResult:
        """Return the result once the program has ended."""
        where = f"input {self.right}: "
        if self.why:
            return SuiteResult(FAIL, self.why, self.doubtful, self.failed_in)
        if end.reason in (protocol.CPU_LIMIT, protocol.WALL_LIMIT):
            return SuiteResult(TIMEOUT, where + end.reason, doubtful=True)
        if self.right == len(self.inputs):
            return SuiteResult(PASS)
        return SuiteResult(FAIL, f"{where}the program's process ended (wait status {end.status})", doubtful=True)

    def failure(self, result: SuiteResult) -> Failure:
        """Describe the test that failed, once the program has ended."""
        if result.status == PASS or result.failed_in or self.right >= len(self.inputs):
            return Failure()
        expected = self.suite.expected[self.right]
        wanted, arguments = _shown(expected.kind, expected.body()), _short(self.inputs[self.right])
        return Failure(arguments, wanted, self.got or result.why)

    def _is_right(self, frame: Frame, expected: ExpectedOutput) -> bool:
        if frame.kind == protocol.DIGEST:
            return self._is_right_by_digest(frame, expected)
        body = expected.body()
        if expected.exact and self.oracle.equal_is_right and frame.kind == expected.kind and frame.body == body:
            return True
        if body is None:
            return False
        try:
            output, wanted = decode(frame.kind, frame.body), decode(expected.kind, body)
        except Undecodable:
            return False
        first = self.suite.first_float
        return self.oracle.is_right(self.inputs[self.right], output, wanted, self.right > first, self.right >= first)

    def _is_right_by_digest(self, frame: Frame, expected: ExpectedOutput) -> bool:
        if len(frame.body) != protocol.DIGEST_BODY.size:
            return False
        kind, size, digest = protocol.DIGEST_BODY.unpack(frame.body)
        if expected.exact and self.oracle.equal_is_right:
            if (kind, size, digest) == (expected.kind, expected.size, expected.digest):
                return True
        elif self.oracle.only_not_none:
            return expected.body() == b"T"
        self.wants_full = size <= _longest_right(expected) and expected.size <= FULL_BYTES
        return False


def _shown(kind: bytes, body: bytes | None) -> str:
    if kind == protocol.DIGEST or body is None:
        return "(an output too large to show)"
    try:
        return _short(decode(kind, body))
    except Undecodable:
        return "(an output that is no plain value)"


def _short(value: object) -> str:
    try:
        return SHORT.repr(value)
    except (ValueError, RecursionError):  # an integer of more digits than Python prints, or deep nesting
        return "(a value too large to show)"
