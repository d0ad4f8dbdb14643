"""Contamination check of files: `python -m src.evaluation.contamination_files --train FILE... --benchmark FILE`.

Writes `contamination.csv` (a row an item) and, with `--scores items.csv`, `clean_scores.csv`.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from src.evaluation.contamination import Document, Finding, clean_scores, find_contamination
from src.evaluation.scores import ItemScore
from src.utils.errors import UserError
from src.utils.files import atomic_open
from src.utils.jsonl import iterate_jsonl
from src.utils.progress import track

TEXT_FIELDS = (
    *("prompt", "text", "question", "instruction", "input", "docstring"),
    *("answer", "output", "solution", "completion", "canonical_solution", "code", "4o_solution", "r1_solution"),
)
CODE_FIELDS = ("code", "solution", "canonical_solution", "answer", "output", "completion", "4o_solution", "r1_solution")
ID_FIELDS = ("task_id", "url", "question_id", "id")
_FENCED = re.compile(r"```(?:python|py)?\s*\n(.*?)```", re.DOTALL)


def document(row: dict[str, Any], number: int, origin: str) -> Document:
    """A row of any of the known forms: EvalPlus, MBPP, CodeXGLUE, KodCode, Alpaca, chats, or our own examples.

    Args:
        row: The row.
        number: Of the row in its file, for rows without an id.
        origin: Name of the file, likewise.
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


def documents(paths: Iterable[Path]) -> Iterator[Document]:
    """Rows of `.jsonl(.gz)` files and of `.json(.gz)` lists.

    Raises:
        UserError: A file is missing or is neither.
    """
    for path in paths:
        for number, row in enumerate(_rows(path)):
            yield document(row, number, path.name.split(".")[0])


def write_findings(findings: Sequence[Finding], path: Path) -> None:
    """One row an item, with its verdict."""
    rows = [
        {**asdict(finding), "overlap": round(finding.overlap, 4), "verdict": finding.verdict} for finding in findings
    ]
    _write_csv(rows, path)


def write_clean_scores(scores: Sequence[ItemScore], findings: Sequence[Finding], path: Path) -> None:
    """One row a metric: its mean over all items and over the clean ones, each with n and interval."""
    rows = []
    for metric, intervals in clean_scores(scores, findings).items():
        row: dict[str, Any] = {"metric": metric}
        for name, interval in zip(("all", "clean"), intervals, strict=True):
            values = asdict(interval) if interval else dict.fromkeys(("n", "mean", "low", "high"), "")
            row |= {f"{name}_{field}": value for field, value in values.items()}
        rows.append(row)
    _write_csv(rows, path)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Compare training files with a benchmark.")
    parser.add_argument("--train", nargs="+", type=Path, required=True, help=".jsonl(.gz) or .json(.gz)")
    parser.add_argument("--benchmark", type=Path, required=True, help="problems or rows, likewise")
    parser.add_argument("--scores", type=Path, help="items.csv of an evaluation on that benchmark")
    parser.add_argument("--output", type=Path, default=Path("."), help="directory of the tables")
    given = parser.parse_args(arguments)
    items = list(documents([given.benchmark]))
    findings = find_contamination(track(documents(given.train), "training rows"), items)
    write_findings(findings, given.output / "contamination.csv")
    if given.scores is not None:
        with given.scores.open(encoding="utf-8") as file:
            scores = [ItemScore(row["item"], row["metric"], float(row["value"])) for row in csv.DictReader(file)]
        write_clean_scores(scores, findings, given.output / "clean_scores.csv")
    counts = {
        verdict: sum(finding.verdict == verdict for finding in findings) for verdict in ("clean", "between", "dirty")
    }
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.items()), f"of {len(findings)} items")


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        yield from iterate_jsonl(path)
        return
    if not path.is_file() or not path.name.endswith((".json", ".json.gz")):
        raise UserError(f"{path}: expected an existing .jsonl, .jsonl.gz, .json or .json.gz file")
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
        yield from json.load(file)


def _id(row: dict[str, Any], number: int, origin: str) -> str:
    """`Mbpp/601` for rows of MBPP itself, whose ids are numbers; else the row's own id, or file and row number."""
    value = next((row[field] for field in ID_FIELDS if row.get(field) is not None), None)
    if isinstance(value, int) and "test_list" in row:
        return f"Mbpp/{value}"
    return str(value) if value is not None else f"{origin}/{number}"


def _write_csv(rows: Sequence[dict[str, Any]], path: Path) -> None:
    with atomic_open(path) as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
