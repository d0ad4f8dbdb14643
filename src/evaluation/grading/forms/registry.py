"""All forms of tests by name, problems of any form from rows, and their tests made ready to run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from src.evaluation.grading.forms.call_tests import CALLS, call_problem, prepare_call_tests
from src.evaluation.grading.forms.file_tests import FILE, file_problem, prepare_file_tests
from src.evaluation.grading.forms.input_lists import prepare_input_lists
from src.evaluation.grading.forms.outcome import RunnableTests, TestedProblem, TestForm
from src.evaluation.grading.forms.problems import INPUTS, input_problem
from src.evaluation.grading.forms.python_tests import PYTHON, prepare_python_tests, python_problem
from src.evaluation.grading.forms.rows import problems_of_rows
from src.evaluation.grading.forms.stdin_tests import STDIN, prepare_stdin_tests, stdin_problem
from src.evaluation.sandbox.pool import Sandbox
from src.utils.errors import unknown_choice

FORMS: dict[str, TestForm] = {
    INPUTS: TestForm(input_problem, prepare_input_lists),  # rows in EvalPlus's format, which name no form
    PYTHON: TestForm(python_problem, prepare_python_tests),
    STDIN: TestForm(stdin_problem, prepare_stdin_tests),
    CALLS: TestForm(call_problem, prepare_call_tests),
    FILE: TestForm(file_problem, prepare_file_tests),
}


def read_problems(rows: Sequence[dict[str, Any]]) -> list[TestedProblem]:
    """Make problems of a benchmark's rows, each in the form that it names by `tests: {form: NAME, ...}`.

    Raises:
        UserError: There are none, a form is unknown, a row lacks a field, or two rows share a `task_id`.
    """
    return problems_of_rows(rows, "the benchmark's problems cannot be used", _problem)


def _problem(row: dict[str, Any]) -> TestedProblem:
    form = row.get("tests", {}).get("form", INPUTS)
    if form not in FORMS:
        raise unknown_choice("form of tests", form, list(FORMS))
    return FORMS[form].problem(row)


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
