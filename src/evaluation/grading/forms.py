"""All forms of tests by name, problems of any form from rows, and their tests made ready to run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from src.evaluation.grading.input_lists import prepare_input_lists
from src.evaluation.grading.outcome import RunnableTests, TestedProblem, TestForm
from src.evaluation.grading.problems import problem_from_row
from src.evaluation.grading.python_tests import PythonTests, prepare_python_tests
from src.evaluation.sandbox.pool import Sandbox
from src.utils.errors import UserError, first_differences, unknown_choice

INPUTS = "inputs"  # EvalPlus's: lists of arguments, and outputs of a reference solution; rows do not name it
FORMS: dict[str, TestForm] = {
    INPUTS: TestForm(problem_from_row, prepare_input_lists),
    "python": TestForm(PythonTests.from_row, prepare_python_tests),
}


def problems_from_rows(rows: Iterable[dict[str, Any]], origin: str = "problems") -> list[TestedProblem]:
    """Make problems of a benchmark's rows, each in the form that it names.

    Args:
        rows: Rows with `tests: {form: NAME, ...}`, or in EvalPlus's format.
        origin: Name of the source, for errors.

    Raises:
        UserError: A row lacks a field, or two rows share a `task_id`.
    """
    problems: list[TestedProblem] = []
    seen: set[str] = set()
    wrong: list[str] = []
    for number, row in enumerate(rows, 1):
        form = row.get("tests", {}).get("form", INPUTS)
        if form not in FORMS:
            raise unknown_choice("form of tests", form, list(FORMS))
        try:
            problem = FORMS[form].read(row)
        except UserError as error:
            wrong.append(f"row {number}: {error}")
            continue
        if problem.task_id in seen:
            wrong.append(f"row {number} repeats {problem.task_id}")
        seen.add(problem.task_id)
        problems.append(problem)
    if wrong or not problems:
        raise UserError(first_differences(f"{origin} cannot be used", wrong or ["there are none"]))
    return problems


def prepare_tests(problems: Sequence[TestedProblem], sandbox: Sandbox, cache: Path | None) -> dict[str, RunnableTests]:
    """Map the problems' ids to their tests.

    Args:
        problems: Of any forms.
        sandbox: Runs reference solutions.
        cache: Directory for their results; None: the user's cache directory.

    Raises:
        UserError: A reference solution that tests depend on fails.
    """
    ready: dict[str, RunnableTests] = {}
    for form in dict.fromkeys(problem.form for problem in problems):
        group = [problem for problem in problems if problem.form == form]
        tests = FORMS[form].prepare(group, sandbox, cache)
        ready |= {problem.task_id: item for problem, item in zip(group, tests, strict=True)}
    return ready
