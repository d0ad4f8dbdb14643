"""All forms of tests by name, problems of any form from rows, and their tests made ready to run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from src.evaluation.grading.call_tests import CALLS, call_problems, prepare_call_tests
from src.evaluation.grading.file_tests import FILE, file_problems, prepare_file_tests
from src.evaluation.grading.input_lists import prepare_input_lists
from src.evaluation.grading.outcome import RunnableTests, TestedProblem, TestForm
from src.evaluation.grading.problems import INPUTS, problems_from_rows
from src.evaluation.grading.python_tests import PYTHON, prepare_python_tests, python_problems
from src.evaluation.grading.stdin_tests import STDIN, prepare_stdin_tests, stdin_problems
from src.evaluation.sandbox.pool import Sandbox
from src.utils.errors import unknown_choice

FORMS: dict[str, TestForm] = {
    INPUTS: TestForm(problems_from_rows, prepare_input_lists),  # rows in EvalPlus's format, which name no form
    PYTHON: TestForm(python_problems, prepare_python_tests),
    STDIN: TestForm(stdin_problems, prepare_stdin_tests),
    CALLS: TestForm(call_problems, prepare_call_tests),
    FILE: TestForm(file_problems, prepare_file_tests),
}


def read_problems(rows: Sequence[dict[str, Any]]) -> list[TestedProblem]:
    """Make problems of a benchmark's rows, each in the form that it names by `tests: {form: NAME, ...}`.

    Returns:
        Problems, those of one form together.

    Raises:
        UserError: There are none, a form is unknown, a row lacks a field, or two rows share a `task_id`.
    """
    names = [row.get("tests", {}).get("form", INPUTS) for row in rows] or [INPUTS]
    problems: list[TestedProblem] = []
    for form in dict.fromkeys(names):
        if form not in FORMS:
            raise unknown_choice("form of tests", form, list(FORMS))
        problems += FORMS[form].read([row for row, name in zip(rows, names, strict=False) if name == form])
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
