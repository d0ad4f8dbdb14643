"""MBPP in its original form (arXiv 2108.07732): a text and assertions."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from src.data.records import find_data
from src.evaluation.benchmarks.base import in_ranges
from src.evaluation.benchmarks.tested_rows import KEY, as_docstring, normal_lines, row_with_tests
from src.evaluation.grading.forms.python_tests import STATEMENTS
from src.utils.errors import UserError
from src.utils.parsing import parse


def mbpp_problems(
    split: str,
    data: Sequence[str] | str,
    numbers: Mapping[str, Sequence[Sequence[int]] | None],
    shown_tests: int | None = None,
) -> list[dict[str, Any]]:
    """Read MBPP, whole or its hand-checked part.

    Args:
        split: A split named in `numbers`.
        data: Places of the rows (`text` or `prompt`, `code`, `test_list`); the first that exists is read.
        numbers: split -> ranges [first, last] of task numbers, None for all.
        shown_tests: Number of assertions that the prompt shows; None: all, as in the paper.

    Returns:
        Problems `Mbpp/<number>`, like MBPP+'s.

    Raises:
        UserError: No such split, no data, or a malformed row.
    """
    if split not in numbers:
        raise UserError(f"benchmark mbpp has no {split} split, only {', '.join(numbers)}; set split= or benchmark=")
    places = [data] if isinstance(data, str) else data
    rows = []
    for record in find_data(places, split, f"{KEY}.data").records():
        if in_ranges(int(record.fields.get("task_id", 0)), numbers[split]):
            try:
                rows.append(_row(record.fields, shown_tests))
            except (KeyError, ValueError, StopIteration) as error:
                raise UserError(f"{record.place} is no problem of MBPP: {type(error).__name__} {error}") from error
    return rows


def _row(fields: Mapping[str, Any], shown_tests: int | None) -> dict[str, Any]:
    tests, code = [normal_lines(test) for test in fields["test_list"]], normal_lines(fields["code"])
    setup = "\n".join([*fields.get("test_imports", []), fields.get("test_setup_code") or ""])
    text = fields["text"] if "text" in fields else fields["prompt"]
    prompt = as_docstring("\n".join([text.strip(), *tests[:shown_tests]]))
    name = _entry_point(tests[0], code)
    return row_with_tests(f"Mbpp/{fields['task_id']}", prompt, name, code + "\n", STATEMENTS, [setup, *tests])


def _entry_point(test: str, code: str) -> str:
    """Return the first function or class that an assertion uses and the reference defines."""
    program, assertion = parse(code), parse(test)
    if program is None or assertion is None:
        raise ValueError("code or test_list[0] is no Python text")
    defined = {node.name for node in program.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    used = (node.id for node in ast.walk(assertion) if isinstance(node, ast.Name))
    return next(name for name in used if name in defined)
