"""Form of tests `calls`: arguments and right values of a Python function or method of `Solution`, all literals."""

from __future__ import annotations

import marshal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from src.evaluation.grading.forms.outcome import Outcome
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
from src.evaluation.grading.forms.rows import Defect, fields_of
from src.evaluation.grading.forms.run_program import outcome_of
from src.evaluation.sandbox import protocol
from src.evaluation.sandbox.decode import Undecodable, decode
from src.evaluation.sandbox.jobs import End, Frame, Job
from src.evaluation.sandbox.pool import Sandbox
from src.evaluation.sandbox.worker import Worker

CALLS = "calls"  # name of this form of tests
ENTRY = "_entry_of_the_tests"
LEAST_OUTPUT = 1 << 16


@dataclass(frozen=True)
class CallProblem:
    """A problem with arguments and right values.

    Attributes:
        task_id: Its name.
        prompt: The question.
        entry_point: The function, or a method of the class `Solution` where the program has one.
        header: Text before the program.
        cases: Arguments and right value of each test.
        seconds: CPU seconds per test.
        or_first: A value is also right if it is the first element of the right value (APPS).
    """

    task_id: str
    prompt: str
    entry_point: str
    header: str
    cases: tuple[tuple[list[Any], Any], ...]
    seconds: float
    or_first: bool
    form: ClassVar[str] = CALLS


@dataclass(frozen=True)
class CallTests:
    """Tests of a problem.

    Attributes:
        problem: The problem.
        modules: Imported by the sandbox before its first program; none.
    """

    problem: CallProblem
    modules: frozenset[str] = frozenset()

    @property
    def seconds(self) -> float:
        """Problems with many tests start first."""
        return float(len(self.problem.cases))

    def run(self, worker: Worker, candidates: tuple[str, ...], sandbox: Sandbox) -> Outcome:
        """Run a program on all arguments in one process."""

        def once() -> SuiteResult:
            checker = _Checker(self.problem)
            return checker.conclude(worker.run(self._job(candidates, sandbox), checker))

        return outcome_of(once)

    def _job(self, candidates: tuple[str, ...], sandbox: Sandbox) -> Job:
        problem = self.problem
        name = problem.entry_point
        entry = f"\n\n{ENTRY} = Solution().{name} if 'Solution' in globals() else {name}\n"
        values = marshal.dumps([value for _, value in problem.cases], protocol.MARSHAL_VERSION)
        return Job(
            candidates=tuple(f"{problem.header}{text}{entry}" for text in candidates),
            entry_point=ENTRY,
            inputs=marshal.dumps([arguments for arguments, _ in problem.cases], protocol.MARSHAL_VERSION),
            cpu_limits=(LOAD_SECONDS, *[problem.seconds] * len(problem.cases)),
            cpu_total=LOAD_SECONDS + problem.seconds * len(problem.cases),
            memory=sandbox.memory_mb << 20,
            inline=max(LEAST_OUTPUT, 2 * len(values)),
        )


class _Checker:
    """Compare each value with the right one as it arrives; False ends the program."""

    def __init__(self, problem: CallProblem) -> None:
        self.problem = problem
        self.right = 0
        self.failed: SuiteResult | None = None

    def __call__(self, frame: Frame) -> bool:
        if frame.kind in protocol.FAILURES:
            body = b"an output beyond its limit" if frame.kind == protocol.OVERLONG else frame.body
            doubtful = frame.kind == protocol.HINDERED or body.startswith(SCARCITY)
            self._fail(body[:LONGEST_REASON].decode("utf-8", "replace"), doubtful, FAILED_IN.get(frame.kind, ""))
        elif frame.index != self.right or self.right >= len(self.problem.cases):
            self._fail("more outputs than inputs")
        elif frame.kind == protocol.DIGEST:
            self._fail("wrong output", got="(an output too large to show)")
        else:
            self._compare(frame)
        return self.failed is None

    def conclude(self, end: End) -> SuiteResult:
        """Return the result once the program has ended."""
        if self.failed is None and end.reason in (protocol.CPU_LIMIT, protocol.WALL_LIMIT):
            self._fail(end.reason, True, status=TIMEOUT)
        elif self.failed is None and self.right < len(self.problem.cases):
            self._fail(f"the program's process ended (wait status {end.status})", True)
        return self.failed or SuiteResult(PASS)

    def _compare(self, frame: Frame) -> None:
        try:
            output = decode(frame.kind, frame.body)
        except Undecodable:
            return self._fail("wrong output", got="(an output that is no plain value)")
        if _is_right(output, self.problem.cases[self.right][1], self.problem.or_first):
            self.right += 1
        else:
            self._fail("wrong output", got=SHORT.repr(output))
        return None

    def _fail(self, why: str, doubtful: bool = False, failed_in: str = "", status: str = FAIL, got: str = "") -> None:
        if failed_in or self.right >= len(self.problem.cases):
            self.failed = SuiteResult(status, why, doubtful, failed_in)
            return
        arguments, value = self.problem.cases[self.right]
        shown = Failure(SHORT.repr(arguments), SHORT.repr(value), got or why)
        self.failed = SuiteResult(status, f"test {self.right}: {why}", doubtful, failed_in, shown)


def prepare_call_tests(problems: Sequence[CallProblem], sandbox: Sandbox, cache: Path | None) -> list[CallTests]:
    """Make the tests runnable; right values are in the rows, so there is nothing to compute."""
    del sandbox, cache
    return [CallTests(problem) for problem in problems]


def call_problem(row: dict[str, Any]) -> CallProblem:
    """Build a problem of a row whose `tests` are `{form: calls, cases: [[arguments, value], ...], seconds, ...}`.

    Raises:
        Defect: The row has no tests or no function.
    """
    fields, tests = fields_of(row, ("task_id", "prompt", "entry_point")), row["tests"]
    cases = tuple((list(arguments), value) for arguments, value in tests["cases"])
    if not cases:
        raise Defect("has no tests")
    if not row["entry_point"].isidentifier():
        raise Defect(f"has no function (entry_point is {row['entry_point']!r})")
    header, or_first = tests.get("header", ""), tests.get("or_first", False)
    return CallProblem(**fields, header=header, cases=cases, seconds=tests["seconds"], or_first=or_first)


def _is_right(output: Any, value: Any, or_first: bool) -> bool:
    """Compare by `==`, a tuple as a list, as LiveCodeBench does."""
    output = list(output) if isinstance(output, tuple) else output
    choices = [value, value[0]] if or_first and isinstance(value, list) and value else [value]
    try:
        return any(bool(output == choice) for choice in choices)
    except (ValueError, TypeError, RecursionError, OverflowError):  # an array, or lists without end
        return False
