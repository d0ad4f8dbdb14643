"""Read training data and benchmark items as documents, compare them, and tabulate the findings."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from src.data.records import Record, find_data
from src.evaluation.contamination.overlap import Document, Finding, clean_scores, find_contamination
from src.evaluation.statistics.scores import Score
from src.utils.errors import UserError

TEXT_FIELDS = (
    *("prompt", "text", "question", "instruction", "input", "docstring"),
    *("answer", "output", "solution", "completion", "canonical_solution", "code", "4o_solution", "r1_solution"),
)
CODE_FIELDS = ("code", "solution", "canonical_solution", "answer", "output", "completion", "4o_solution", "r1_solution")
ID_FIELDS = ("task_id", "url", "question_id", "id")
_FENCED = re.compile(r"```(?:python|py)?\s*\n(.*?)```", re.DOTALL)


def document(row: dict[str, Any], number: int, origin: str) -> Document:
    """Convert a row of a known form: EvalPlus, MBPP, CodeXGLUE, KodCode, Alpaca, chats, or our own examples.

    Args:
        row: The row.
        number: Number of the row in its file, for rows without an id.
        origin: Name of the file, for the same purpose.
    """
    turns = [
        str(turn.get("value", turn.get("content", ""))) for turn in row.get("conversations", row.get("messages", []))
    ]
    texts = [row[field] for field in TEXT_FIELDS if isinstance(row.get(field), str)] + turns
    texts += [str(test) for test in row.get("test_list") or ()]
    programs = [row[field] for field in CODE_FIELDS if isinstance(row.get(field), str)] + turns
    programs = [program for text in programs for program in (_FENCED.findall(text) or [text])]
    if "canonical_solution" in row:
        programs.append(str(row["prompt"]) + row["canonical_solution"])
    return Document(_id(row, number, origin), tuple(texts), tuple(programs))


def documents(files: Iterable[Path | str], keep: Mapping[str, Any] | None = None) -> Iterator[Document]:
    """Yield the rows of `.jsonl`, `.json` (a list) and `.parquet` files, plain or gzipped, and of data sets on the Hub.

    Args:
        files: File patterns, or `owner/name` of data sets.
        keep: Field -> value, or [first, last] of numbers; other rows are skipped.

    Raises:
        UserError: A file is missing or malformed, a row lacks a field in `keep`, or no rows are left.
    """
    number = 0
    for name in files:
        origin = Path(name).name.split(".")[0]
        for place, record in enumerate(find_data([str(name)], "train", "contamination").records()):
            if all(_is_kept(record, field, wanted) for field, wanted in (keep or {}).items()):
                number += 1
                yield document(record.fields, place, origin)
    if not number:
        raise UserError(f"contamination_keep={dict(keep or {})} leaves no training rows; change it")


def check_benchmarks(
    benchmarks: Mapping[str, Mapping[str, dict[str, Any]]], training: Iterable[Document]
) -> dict[str, list[Finding]]:
    """Compare training rows, read once, with all items of several benchmarks.

    Args:
        benchmarks: Name -> item -> its row.
        training: Any number of rows.

    Returns:
        Name -> one finding per item, under the names given.
    """
    places = [(name, item) for name, items in benchmarks.items() for item in items]
    rows = [document(benchmarks[name][item], 0, f"{name}/{item}") for name, item in places]
    found: dict[str, list[Finding]] = {name: [] for name in benchmarks}
    for (name, item), finding in zip(places, find_contamination(training, rows), strict=True):
        found[name].append(dataclasses.replace(finding, item=item))
    return found


def finding_rows(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Return one row per item, with its verdict."""
    return [
        {**asdict(finding), "overlap": round(finding.overlap, 4), "verdict": finding.verdict} for finding in findings
    ]


def clean_score_rows(scores: Sequence[Score], findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """One row per metric: its mean over all items and over the clean ones, each with n and interval."""
    rows = []
    for (benchmark, metric), intervals in clean_scores(scores, findings).items():
        row: dict[str, Any] = {"benchmark": benchmark, "metric": metric}
        for name, interval in zip(("all", "clean"), intervals, strict=True):
            values = asdict(interval) if interval else {**dict.fromkeys(("mean", "low", "high")), "n": 0}
            row |= {f"{name}_{field}": values[field] for field in ("n", "mean", "low", "high")}
        rows.append(row)
    return rows


def counts(findings: Sequence[Finding]) -> str:
    """Say how many items have each verdict."""
    verdicts = [finding.verdict for finding in findings]
    found = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in ("clean", "between", "dirty"))
    return f"{found} of {len(findings)} items"


def _is_kept(record: Record, field: str, wanted: Any) -> bool:
    if field not in record.fields:
        raise UserError(f"{record.place}: no field {field!r}; change contamination_keep")
    value = record.fields[field]
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        first, last = wanted
        return bool(first <= value <= last)
    return bool(value == wanted)


def _id(row: dict[str, Any], number: int, origin: str) -> str:
    """Return `Mbpp/601` for MBPP's own rows, whose ids are numbers; else the row's id, or file and row number."""
    value = next((row[field] for field in ID_FIELDS if row.get(field) is not None), None)
    if isinstance(value, int) and "test_list" in row:
        return f"Mbpp/{value}"
    return str(value) if value is not None else f"{origin}/{number}"
