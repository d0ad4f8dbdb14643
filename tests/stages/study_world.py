"""Real rows and benchmarks in the places where conf/ looks for them, below a directory of a test."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.data.shared import shared

TOKENIZERS = {"qwen1.5b": "qwen2.5-7b-instruct", "deepseek1.3b": "deepseek-coder-6.7b-instruct"}
Rows = list[dict[str, Any]]


def lay_out(root: Path) -> None:
    """Fill `root/data` with KodCode, MBPP, CodeXGLUE, HumanEval+ and MBPP+."""
    kodcode = [row for path in sorted(shared("data", "kodcode").glob("KodCode_*")) for row in read(path)]
    write(root / "data/kodcode/train.jsonl", ({**row, "4o_solution": row["solution"]} for row in kodcode))
    functions = shared("data", "codexglue")
    parts = {"train": "python_test_extra", "validation": "python_valid_first120", "test": "python_test_sample1000"}
    for split, name in parts.items():
        link(root / f"data/codexglue/python_{split}.jsonl.gz", functions / f"{name}.jsonl.gz")
    java = read(functions / "java_test_sample500.jsonl.gz")
    for split, rows in {"train": java[:400], "validation": java[400:450], "test": java[450:]}.items():
        write(root / f"data/codexglue/java/{split}.jsonl", rows)
    link(root / "data/mbpp/mbpp.jsonl.gz", shared("data", "mbpp", "mbpp.jsonl.gz"))
    link(root / "data/mbpp/MbppPlus.jsonl.gz", shared("data", "mbpp", "MbppPlus-v0.2.0.jsonl.gz"))
    problems = shared("data", "humaneval", "HumanEvalPlus-v0.1.10.jsonl.gz")
    link(root / "data/humaneval/HumanEvalPlus.jsonl.gz", problems)


def tokenizer(model: str) -> str:
    """`model.tokenizer=DIR` of a model's family."""
    return f"model.tokenizer={shared('data', 'tokenizers', TOKENIZERS[model])}"


def read(path: Path) -> Rows:
    """Rows of a gzipped list or of gzipped lines."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows: Rows = json.load(file) if ".json." in path.name else [json.loads(line) for line in file]
        return rows


def write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Rows as lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def link(path: Path, target: Path) -> None:
    """A link to a shared file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)
