"""Form of tests `file`: program and tests are one file, and exit code 0 is a pass (MultiPL-E, arXiv 2208.08227)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from src.evaluation.grading.forms.languages import Toolchain, toolchain_of
from src.evaluation.grading.forms.outcome import Outcome
from src.evaluation.grading.forms.result import FAIL, PASS, SuiteResult
from src.evaluation.grading.forms.rows import Defect, fields_of
from src.evaluation.grading.forms.run_program import build, failed_run, outcome_of
from src.evaluation.sandbox.pool import Sandbox
from src.evaluation.sandbox.worker import Worker

FILE = "file"  # name of this form of tests
OUTPUT_BYTES = 1 << 20
FORGED = "it passes tests that no program can pass: it ends before they run, or forges their result"


@dataclass(frozen=True)
class FileProblem:
    """A problem whose tests are text in the program's language.

    Attributes:
        task_id: Its name.
        prompt: Beginning of the program.
        toolchain: Language of its programs.
        text: Tests, which follow the program.
        impossible: Tests that no program passes; empty: none.
        seconds: CPU seconds.
    """

    task_id: str
    prompt: str
    toolchain: Toolchain
    text: str
    impossible: str
    seconds: float
    entry_point: ClassVar[str] = ""
    form: ClassVar[str] = FILE


@dataclass(frozen=True)
class FileTests:
    """Tests of a problem.

    Attributes:
        problem: The problem.
        seconds: CPU time of a reference solution; there is none.
        modules: Imported by the sandbox; none.
    """

    problem: FileProblem
    seconds: float = 0.0
    modules: frozenset[str] = frozenset()

    def run(self, worker: Worker, candidates: tuple[str, ...], sandbox: Sandbox) -> Outcome:
        """Run a program with its tests and, if it passes, with tests that it must fail."""
        del sandbox  # the language has the limits
        own = worker.for_commands(self.problem.toolchain.extra)
        return outcome_of(lambda: self._run_twice(own, candidates))

    def _run_twice(self, worker: Worker, candidates: tuple[str, ...]) -> SuiteResult:
        result, impossible = self._run(worker, candidates, self.problem.text), self.problem.impossible
        if result.status == PASS and impossible and self._run(worker, candidates, impossible).status == PASS:
            return SuiteResult(FAIL, FORGED)
        return result

    def _run(self, worker: Worker, candidates: tuple[str, ...], tests: str) -> SuiteResult:
        built = build(worker, self.problem.toolchain, [f"{text}\n{tests}" for text in candidates])
        if built.program is None:
            assert built.failure is not None
            return built.failure
        result = worker.run_process(built.program.run_job(b"", self.problem.seconds, OUTPUT_BYTES))
        return failed_run(result) or SuiteResult(PASS)


def file_problem(row: dict[str, Any]) -> FileProblem:
    """Build a problem of a row whose `tests` are `{form: file, language, text, impossible: [pattern, text], seconds}`.

    `impossible` makes tests that must fail: what the regular expression finds in the tests is replaced.

    Raises:
        Defect: `impossible` finds nothing.
        UserError: The language is not installed.
    """
    fields, tests = fields_of(row, ("task_id", "prompt")), row["tests"]
    impossible, changes = "", 1
    if tests.get("impossible"):
        pattern, replacement = tests["impossible"]
        impossible, changes = re.subn(pattern, replacement, tests["text"])
    if not changes:
        raise Defect("has tests in which benchmark.problems.impossible finds nothing")
    toolchain, (text, seconds) = toolchain_of(tests["language"]), (tests["text"], tests["seconds"])
    return FileProblem(**fields, toolchain=toolchain, text=text, impossible=impossible, seconds=seconds)


def prepare_file_tests(problems: Sequence[FileProblem], sandbox: Sandbox, cache: Path | None) -> list[FileTests]:
    """Make the tests runnable."""
    del sandbox, cache
    return [FileTests(problem) for problem in problems]
