"""Samples in files: ours, and in the two forms that EvalPlus reads."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from src.evaluation.generators.samples import Sample
from src.utils.errors import UserError
from src.utils.files import sha256_file, sha256_json
from src.utils.jsonl import iterate_jsonl

FORMS = "expected a .jsonl or .jsonl.gz file, or a directory of whole programs such as HumanEval_0/0.py"


def read_samples(path: Path) -> list[Sample]:
    """Samples of a `.jsonl(.gz)` file with `task_id` and `completion` or `solution`, or of a directory of programs.

    Those of one task are numbered in the order of the file. A directory holds whole programs as `<task>/<number>.py`,
    where `HumanEval_0` is the task `HumanEval/0` (EvalPlus's second form).

    Raises:
        UserError: It is neither, a row lacks `task_id` or has neither text, or a directory holds no programs.
    """
    found = _programs(path) if path.is_dir() else _rows(path)
    samples, counter = [], Counter[str]()
    for sample in found:
        samples.append(dataclasses.replace(sample, index=counter[sample.task_id]))
        counter[sample.task_id] += 1
    return samples


def sample_rows(samples: Iterable[Sample]) -> list[dict[str, Any]]:
    """Samples as the objects of a JSONL file."""
    return [dataclasses.asdict(sample) for sample in samples]


def samples_hash(path: Path) -> str:
    """Content hash of what `read_samples` reads."""
    if path.is_file():
        return sha256_file(path)
    return sha256_json({f"{file.parent.name}/{file.name}": sha256_file(file) for file in _program_files(path)})


def _rows(path: Path) -> Iterator[Sample]:
    if not path.name.endswith((".jsonl", ".jsonl.gz")):
        raise UserError(f"samples={path}: {FORMS}")
    for number, row in enumerate(iterate_jsonl(path), 1):
        text = row.get("solution", row.get("completion"))
        if not isinstance(row.get("task_id"), str) or not isinstance(text, str):
            raise UserError(
                f"{path}, row {number}: expected `task_id` and `completion` or `solution`, got {sorted(row)}"
            )
        generated = row.get("generated") is True  # our own file
        yield Sample(row["task_id"], str(row.get("prompt", "")), text, whole="solution" in row, generated=generated)


def _programs(directory: Path) -> Iterator[Sample]:
    files = _program_files(directory)
    if not files:
        raise UserError(f"samples={directory} holds no programs; {FORMS}")
    for path in files:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{path} is no UTF-8 text ({error.reason})") from error
        yield Sample(path.parent.name.replace("_", "/"), "", text, whole=True, generated=False)


def _program_files(directory: Path) -> list[Path]:
    files = (path for path in directory.glob("*/*.py") if path.stem.isdigit())
    return sorted(files, key=lambda path: (path.parent.name, int(path.stem)))
