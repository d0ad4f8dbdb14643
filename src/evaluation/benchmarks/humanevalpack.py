"""HumanEvalPack's Python part (arXiv 2308.07124): fix a function, or explain it and write it again from the words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from src.data.records import find_data
from src.evaluation.benchmarks.tested_rows import KEY, check_code, normal_lines, row_with_tests
from src.evaluation.generators.samples import read_samples
from src.evaluation.grading.forms.python_tests import STATEMENTS
from src.utils.errors import UserError, first_differences, unknown_choice

SHOWN = ("tests", "docs")
FIELDS = (
    "task_id",
    "declaration",
    "canonical_solution",
    "buggy_solution",
    "docstring",
    "entry_point",
    "import",
    "test",
)


def fix_problems(split: str, data: Sequence[str] | str, shown: str = "tests") -> list[dict[str, Any]]:
    """Make problems whose prompt is a function with a bug, and that its corrected form solves.

    Args:
        split: Filled in for `{split}` in `data`; the split of a Hub data set.
        data: Places of HumanEvalPack's Python rows; the first that exists is read.
        shown: Says what the function should do: its `tests` (HumanEvalFix) or its docstring (`docs`, HumanEvalFixDocs).

    Raises:
        UserError: No data, an unknown choice, or a row lacks a field.
    """
    if shown not in SHOWN:
        raise unknown_choice(f"{KEY}.shown", shown, list(SHOWN))
    return [_fix(row, shown) for row in _rows(split, data)]


def describe_rows(split: str, data: Sequence[str] | str) -> list[dict[str, Any]]:
    """Return rows of a summary benchmark: the right function without its docstring, and the docstring.

    Args:
        split: Filled in for `{split}` in `data`; the split of a Hub data set.
        data: Places of HumanEvalPack's Python rows; the first that exists is read.

    Raises:
        UserError: No data, or a row lacks a field.
    """
    return [
        {"code": _program(row, "canonical_solution"), "docstring": row["docstring"], "task_id": row["task_id"]}
        for row in _rows(split, data)
    ]


def regenerate_problems(split: str, data: Sequence[str] | str, explanations: str | None = None) -> list[dict[str, Any]]:
    """Make problems whose prompt is a model's own explanation of a function, with the function's first line.

    Args:
        split: Filled in for `{split}` in `data`; the split of a Hub data set.
        data: Places of HumanEvalPack's Python rows; the first that exists is read.
        explanations: `samples-humanevalpack_describe.jsonl` of an evaluation of the same model.

    Raises:
        UserError: No data or no explanations, or they do not belong together.
    """
    rows = _rows(split, data)
    if explanations is None:
        raise UserError(
            f"{KEY}.explanations is missing: run benchmark=humanevalpack_describe first, then set it to that run's "
            "samples-humanevalpack_describe.jsonl"
        )
    told = {sample.task_id: sample.completion for sample in read_samples(Path(explanations)) if sample.index == 0}
    names = [f"humanevalpack_describe/{number}" for number in range(len(rows))]
    if missing := [name for name in names if name not in told]:
        raise UserError(first_differences(f"{KEY}.explanations={explanations} lacks answers", missing))
    return [_regenerate(row, told[name]) for row, name in zip(rows, names, strict=True)]


def _rows(split: str, data: Sequence[str] | str) -> list[dict[str, Any]]:
    rows = []
    for record in find_data([data] if isinstance(data, str) else data, split, f"{KEY}.data").records():
        if missing := [name for name in FIELDS if name not in record.fields]:
            raise UserError(f"{record.place} is no row of HumanEvalPack: it lacks {', '.join(missing)}")
        if not str(record.fields["task_id"]).startswith("Python/"):
            raise UserError(f"{record.place}: {record.fields['task_id']} is not of HumanEvalPack's Python part")
        rows.append({name: normal_lines(str(record.fields[name])) for name in FIELDS})
    return rows


def _fix(row: Mapping[str, str], shown: str) -> dict[str, Any]:
    program, name = _program(row, "buggy_solution"), row["entry_point"]
    if shown == "tests":
        prompt = f"{program}\n\n{row['test'].strip()}\n\n# Fix bugs in {name}.\n"
    else:
        prompt = f"{_with_docstring(row, 'buggy_solution')}\n\n# Fix bugs in {name}.\n"
    return _problem(row, prompt)


def _regenerate(row: Mapping[str, str], explanation: str) -> dict[str, Any]:
    head = row["declaration"].strip()
    request = f"Write functional code in Python according to the description. It begins with:\n{head}"
    return _problem(row, f"{explanation.strip()}\n\n{request}")


def _problem(row: Mapping[str, str], prompt: str) -> dict[str, Any]:
    code = check_code(row["test"], row["entry_point"], row["declaration"])
    solution = _program(row, "canonical_solution")
    return row_with_tests(row["task_id"], prompt, row["entry_point"], solution, STATEMENTS, code)


def _program(row: Mapping[str, str], solution: str) -> str:
    parts = [
        row["import"].strip(),
        row["declaration"].lstrip("\n").rstrip() + "\n" + row[solution].lstrip("\n").rstrip(),
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _with_docstring(row: Mapping[str, str], solution: str) -> str:
    lines = "\n".join(f"    {line}".rstrip() for line in f'"""{row["docstring"].strip()}\n"""'.splitlines())
    return _program({**row, "declaration": f"{row['declaration'].rstrip()}\n{lines}"}, solution)
