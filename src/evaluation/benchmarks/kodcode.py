"""KodCode's held-out rows as problems with their own tests (arXiv 2503.02951): coefficients can be chosen on them."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from src.data.sources import RecordSource
from src.evaluation.benchmarks.tested_rows import as_docstring, imported_modules, is_installed, row_with_tests
from src.evaluation.grading.forms.python_tests import PYTEST
from src.utils.errors import UserError
from src.utils.parsing import parse

TESTS = ("test", "test_code")  # in the published sets, and in the files of the authors' pipeline
# Modules whose tests measure the machine, or that need what the sandbox does not allow.
UNSUITABLE = {"time", "timeit", "socket", "subprocess", "multiprocessing", "urllib", "http", "requests", "tkinter"}
LONGEST_TEST = 200  # characters of the test that the prompt shows
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def kodcode_problems(
    split: str, data: Sequence[str] | str, held_out: float, task: str = "codegen", id: str = "question_id"
) -> list[dict[str, Any]]:
    """Make problems of rows that training holds out; their tests are the rows' own pytest functions.

    Left out are rows whose tests use nothing that the solution defines, or that measure time or need a network, other
    processes or a library that is not installed. Prompts have MBPP's form: the question, the heads of tested functions
    and classes that it does not name, and one assertion.

    Args:
        split: `validation`.
        data: Places of the rows, as in the training source (conf/tasks/codegen.yaml).
        held_out: Share of the rows that is held out there, or less.
        task: Task of the training source.
        id: Its field that decides which rows are held out.

    Raises:
        UserError: No such split, no such data, or no row becomes a problem.
    """
    if split != "validation":
        raise UserError(f"benchmark kodcode has no {split} split, only validation; set split= or benchmark=")
    places = (data,) if isinstance(data, str) else tuple(data)
    state = RecordSource(task, places, user_prompt="{question}", answer="question", id=id, held_out=held_out).state(
        split
    )
    return [dict(problem) for problem in _problems(state, places, held_out, task, id)]


@lru_cache(maxsize=4)  # hundreds of thousands of rows are read, and a study asks with every checkpoint
def _problems(
    state: tuple[Any, ...], data: tuple[str, ...], held_out: float, task: str, id: str
) -> list[dict[str, Any]]:
    source = RecordSource(task, data, user_prompt="{question}", answer="question", id=id, held_out=held_out)
    found = (_problem(record.fields, str(record.fields.get(id))) for record in source.records("validation"))
    return [problem for problem in found if problem is not None]


def _problem(row: dict[str, Any], name: str) -> dict[str, Any] | None:
    solution, tests = row.get("solution"), next((row[key] for key in TESTS if isinstance(row.get(key), str)), None)
    if not isinstance(solution, str) or tests is None:
        return None
    program, test_module = parse(solution), parse(tests)
    if program is None or test_module is None:
        return None
    used = {node.id for node in ast.walk(test_module) if isinstance(node, ast.Name)}
    tested = [node for node in program.body if isinstance(node, Definition) and node.name in used]
    modules = {*imported_modules(program), *imported_modules(test_module)} - {"solution"}
    if not tested or not _has_tests(test_module) or modules & UNSUITABLE or not all(map(is_installed, modules)):
        return None
    question = str(row.get("question")).strip()
    heads = [_head(node) for node in tested if node.name not in question]
    asserts = [node for node in ast.walk(test_module) if isinstance(node, ast.Assert)]
    example = next((text for text in map(ast.unparse, asserts) if _is_example(text, tested)), "")
    prompt = as_docstring("\n".join([question, *heads, example]))
    entry_point = tested[0].name if len(tested) == 1 else ""
    return row_with_tests(f"KodCode/{name}", prompt, entry_point, solution + "\n", PYTEST, [tests])


def _has_tests(module: ast.Module) -> bool:
    return any(isinstance(node, Definition) and node.name.lower().startswith("test") for node in module.body)


def _head(node: Definition) -> str:
    """Return the first line of a definition."""
    if isinstance(node, ast.ClassDef):
        return f"class {node.name}"
    result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"def {node.name}({ast.unparse(node.args)}){result}"


def _is_example(text: str, tested: Sequence[Definition]) -> bool:
    return len(text) <= LONGEST_TEST and any(f"{node.name}(" in text for node in tested)
