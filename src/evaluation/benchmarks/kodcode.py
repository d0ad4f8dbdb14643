"""KodCode's held-out rows as problems with their own tests (arXiv 2503.02951): coefficients can be chosen on them."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from src.data.sources import RecordSource
from src.utils.errors import UserError

TESTS = ("test", "test_code")  # in the published sets, and in the files of the authors' pipeline
# Standard modules whose functions give the same result every time; rows that import others are left out.
MODULES = {
    *("__future__", "abc", "array", "bisect", "collections", "copy", "dataclasses", "decimal", "enum", "fractions"),
    *("functools", "heapq", "itertools", "json", "math", "numbers", "operator", "queue", "re", "statistics", "string"),
    *("textwrap", "typing", "unicodedata"),
}
FEWEST_INPUTS = 2
BACKSLASH = "\\"
LONGEST_TEST = 200  # characters of the test that the prompt shows


def kodcode_problems(
    split: str, data: Sequence[str] | str, held_out: float, task: str = "codegen", id: str = "question_id"
) -> list[dict[str, Any]]:
    """Build problems in EvalPlus's format from rows that training holds out.

    A row becomes a problem if all assertions of its tests compare a call of one function, with literal arguments, with
    a literal value. The arguments become the inputs; the row's solution, which passes its tests, gives the expected
    outputs. Prompts have MBPP's form: the question and one test.

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
    try:
        program, asserts = (
            ast.parse(solution),
            [node for node in ast.walk(ast.parse(tests)) if isinstance(node, ast.Assert)],
        )
        calls = [_call(node.test) for node in asserts]
        entries = {call.func.id for call in calls if isinstance(call.func, ast.Name)}
        inputs = [[ast.literal_eval(argument) for argument in call.args] for call in calls]
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return None
    functions = {node.name for node in program.body if isinstance(node, ast.FunctionDef)}
    if len(inputs) < FEWEST_INPUTS or len(entries) != 1 or not entries <= functions or not _is_plain(inputs):
        return None
    if not set(_imports(program)) <= MODULES:
        return None
    example = next((text for node in asserts if len(text := ast.unparse(node)) <= LONGEST_TEST), "")
    text = f"{str(row.get('question')).strip()}\n{example}".strip().replace('"""', "'''")
    return {
        "task_id": f"KodCode/{name}",
        "prompt": f'{"r" if BACKSLASH in text else ""}"""\n{text}\n"""\n',
        "entry_point": entries.pop(),
        "canonical_solution": solution + "\n",
        "base_input": inputs,
        "plus_input": [],
        "atol": 0,
    }


def _call(test: ast.expr) -> ast.Call:
    """Return the call that an assertion compares with a literal.

    Raises:
        ValueError: It does something else.
    """
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        test = test.operand
    elif isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq | ast.Is):
        value = test.comparators[0]
        is_approximate = isinstance(value, ast.Call) and ast.unparse(value.func) == "pytest.approx"
        ast.literal_eval(value.args[0] if is_approximate and isinstance(value, ast.Call) and value.args else value)
        test = test.left
    if not isinstance(test, ast.Call) or not isinstance(test.func, ast.Name) or test.keywords:
        raise ValueError("no call of the function alone")
    return test


def _imports(program: ast.Module) -> Iterator[str]:
    """Yield the top-level modules that a program imports; an empty one for relative imports."""
    for node in ast.walk(program):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0] if not node.level else ""


def _is_plain(value: Any) -> bool:
    """True if JSON can hold the value, tuples as lists."""
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in value) and all(map(_is_plain, value.values()))
    return value is None or isinstance(value, str | int | float)
