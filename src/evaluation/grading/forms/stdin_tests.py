"""Form of tests `stdin`: a program reads standard input and writes standard output, one process per test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from src.evaluation.grading.forms.languages import Program, Toolchain, toolchain_of
from src.evaluation.grading.forms.outcome import Outcome
from src.evaluation.grading.forms.result import FAIL, PASS, SHORT, Failure, SuiteResult
from src.evaluation.grading.forms.rows import Defect, fields_of
from src.evaluation.grading.forms.run_program import build, failed_run, outcome_of
from src.evaluation.grading.forms.stdout import difference
from src.evaluation.sandbox.pool import Sandbox
from src.evaluation.sandbox.worker import Worker

STDIN = "stdin"  # name of this form of tests
LEAST_OUTPUT, MOST_OUTPUT = 1 << 20, 16 << 20  # bytes that a program may print, by the length of the right output


@dataclass(frozen=True)
class StdinProblem:
    """A problem with inputs and outputs as texts.

    Attributes:
        task_id: Its name.
        prompt: The question.
        toolchain: Language of its programs.
        cases: Input and right output of each test.
        seconds: CPU seconds per test.
        tolerance: See `difference`.
    """

    task_id: str
    prompt: str
    toolchain: Toolchain
    cases: tuple[tuple[str, str], ...]
    seconds: float
    tolerance: float
    entry_point: ClassVar[str] = ""
    form: ClassVar[str] = STDIN


@dataclass(frozen=True)
class StdinTests:
    """Tests of a problem.

    Attributes:
        problem: The problem.
        modules: Imported by the sandbox; none.
    """

    problem: StdinProblem
    modules: frozenset[str] = frozenset()

    @property
    def seconds(self) -> float:
        """Problems with many tests start first."""
        return float(len(self.problem.cases))

    def run(self, worker: Worker, candidates: tuple[str, ...], sandbox: Sandbox) -> Outcome:
        """Run a program on one test after another until it fails one."""
        del sandbox  # the language has the limits
        own = worker.for_commands(self.problem.toolchain.extra)
        return outcome_of(lambda: self._run(own, candidates))

    def _run(self, worker: Worker, candidates: tuple[str, ...]) -> SuiteResult:
        built = build(worker, self.problem.toolchain, candidates)
        if built.program is None:
            assert built.failure is not None
            return built.failure
        for number in range(len(self.problem.cases)):
            if (failed := self._failed(worker, built.program, number)) is not None:
                return failed
        return SuiteResult(PASS)

    def _failed(self, worker: Worker, program: Program, number: int) -> SuiteResult | None:
        given, expected = self.problem.cases[number]
        longest = min(MOST_OUTPUT, max(LEAST_OUTPUT, 8 * len(expected.encode())))
        result = worker.run_process(program.run_job(given.encode(), self.problem.seconds, longest))
        got = result.stdout.decode("utf-8", "replace")
        failed = failed_run(result)
        if failed is None:
            if not (why := difference(got, expected, self.problem.tolerance)):
                return None
            failed = SuiteResult(FAIL, f"wrong output ({why})")
        shown = Failure(SHORT.repr(given), SHORT.repr(expected), SHORT.repr(got) if got else failed.why)
        return SuiteResult(failed.status, f"test {number}: {failed.why}", failed.doubtful, failed.failed_in, shown)


def stdin_problem(row: dict[str, Any]) -> StdinProblem:
    """Build a problem of a row whose `tests` are `{form: stdin, language, cases: [[input, output], ...], ...}`.

    Raises:
        Defect: The row has no tests.
        UserError: The language is not installed.
    """
    fields, tests = fields_of(row, ("task_id", "prompt")), row["tests"]
    cases = tuple((str(given), str(right)) for given, right in tests["cases"])
    if not cases:
        raise Defect("has no tests")
    toolchain, tolerance = toolchain_of(tests["language"]), tests.get("tolerance", 0.0)
    return StdinProblem(**fields, toolchain=toolchain, cases=cases, seconds=tests["seconds"], tolerance=tolerance)


def prepare_stdin_tests(problems: Sequence[StdinProblem], sandbox: Sandbox, cache: Path | None) -> list[StdinTests]:
    """Make the tests runnable; right outputs are in the rows, so there is nothing to compute."""
    del sandbox, cache
    return [StdinTests(problem) for problem in problems]
