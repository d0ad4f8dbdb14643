"""Rows of a benchmark's splits, from files or functions, and checks shared by all benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from src.data.code_to_text import FILES, places_of
from src.data.records import find_data
from src.evaluation.generators.samples import Sample
from src.evaluation.grading.forms.problems import benchmark_path
from src.utils.errors import UserError
from src.utils.jsonl import read_jsonl

Rows = Callable[[str], list[dict[str, Any]]] | str | Sequence[str]
Limit = int | Mapping[str, int] | None
SPLITS = ("validation", "test")


def check_split(name: str, split: str, splits: Sequence[str]) -> None:
    """Refuse a split that the benchmark does not have.

    Raises:
        UserError: The message lists the available splits.
    """
    if split not in splits:
        raise UserError(f"split={split}: benchmark {name} has only {' and '.join(splits)}; set split= or benchmark=")


def read_rows(rows: Rows, split: str, key: str, limit: Limit = None) -> list[dict[str, Any]]:
    """Rows of a split.

    Args:
        rows: A function of the split, or `.jsonl(.gz)` paths in which `{split}` is filled in.
        split: `validation` or `test`.
        key: The config key to name in errors.
        limit: Maximum number of rows, evenly spaced over all; also by split; None: all.

    Raises:
        UserError: A file is missing, or there are no rows.
    """
    if callable(rows):
        found = rows(split)
    else:
        paths = [Path(path.replace("{split}", split)) for path in ([rows] if isinstance(rows, str) else rows)]
        missing = [str(path) for path in paths if not path.is_file()]
        if missing:
            raise UserError(f"{key}: no such file: {', '.join(missing)}; set {key}=FILE to a .jsonl or .jsonl.gz file")
        found = [row for path in paths for row in read_jsonl(path)]
    if not found:
        raise UserError(f"{key} has no rows for split={split}")
    most = limit.get(split) if isinstance(limit, Mapping) else limit
    if most is None or most >= len(found):
        return found
    return [found[number * len(found) // most] for number in range(most)]


def code_to_text_rows(
    split: str, languages: Sequence[str], data: Sequence[str] | str | None = None
) -> list[dict[str, Any]]:
    """CodeXGLUE's code-to-text rows of one or more languages, one after another.

    Args:
        split: `validation` or `test`.
        languages: `python`, `java`, `go`, `javascript`, `php`, `ruby`.
        data: Paths of a language's files with `{language}` and `{split}`; the first that exists is read. None: the
            files that training reads.

    Raises:
        UserError: No such file.
    """
    return [
        record.fields
        for language in languages
        for record in find_data(places_of(data or FILES, language), split, "benchmark.rows.data").records()
    ]


def evalplus_problems(
    split: str,
    dataset: str,
    path: str | None = None,
    numbers: Mapping[str, Sequence[Sequence[int]] | None] | None = None,
) -> list[dict[str, Any]]:
    """Read problems of HumanEval+ or MBPP+ in EvalPlus's format.

    Args:
        split: A split named in `numbers`.
        dataset: `humaneval` or `mbpp`.
        path: The file; None: the one that EvalPlus's environment variable names.
        numbers: split -> ranges [first, last] of task numbers, None for all; by default, all are the test split.

    Raises:
        UserError: The file is missing (the message says how to get it), or there is no such split.
    """
    ranges = numbers or {"test": None}
    if split not in ranges:
        raise UserError(f"benchmark {dataset} has no {split} split, only {', '.join(ranges)}; set split= or benchmark=")
    rows = read_jsonl(benchmark_path(dataset, path))
    return [row for row in rows if in_ranges(int(row["task_id"].split("/")[1]), ranges[split])]


def in_ranges(number: int, ranges: Sequence[Sequence[int]] | None) -> bool:
    """Return True if a number is in one of the ranges [first, last]; None: any is."""
    return ranges is None or any(first <= number <= last for first, last in ranges)


def check_covered(items: Sequence[str], samples: Sequence[Sample], name: str) -> None:
    """Check that every item has an answer and every answer an item.

    Raises:
        UserError: Names the first missing or unknown item.
    """
    answered, known = {sample.task_id for sample in samples}, set(items)
    missing = [item for item in items if item not in answered]
    unknown = sorted(answered - known)
    if missing:
        raise UserError(f"{name}: {len(missing)} of {len(items)} items have no sample; the first is {missing[0]}")
    if unknown:
        raise UserError(f"{name}: {len(unknown)} samples belong to no item of the benchmark; the first is {unknown[0]}")
