"""Tokenizing, storing and reading training rows: this project's token tables against Hugging Face `datasets`.

    python -m benchmarks.token_cache --rows 10000

Both read the same JSONL file, tokenize it with the pocket tokenizer in one process, and then read every row once, as
training does. The peer runs `load_dataset("json")` and a batched `map` with the same functions.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from benchmarks.machine import machine
from src.data.cache import token_table
from src.data.examples import Example
from src.data.shards import Tokenization
from src.data.sources import RecordSource
from src.data.tokenize import tokenize
from src.models import load_tokenizer
from src.pocket.model import PocketModel

LENGTH = 4096


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        tokenizer = load_tokenizer(PocketModel(layers=1).write(place / "model"))
        rows = _write_rows(place / "rows.jsonl", given.rows)
        print("| | tokenize and store, s | read every row, s | on disk, MB |\n|---|---|---|---|")
        for name, contender in (("token tables", ours), ("datasets", peer)):
            folder = place / name
            folder.mkdir()
            seconds, read = contender(rows, tokenizer, folder)
            start = time.perf_counter()
            tokens = read()
            reading = time.perf_counter() - start
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
            print(f"| {name}, {tokens:,} tokens | {seconds:.1f} | {reading:.2f} | {size:.0f} |")
    print(json.dumps(machine("datasets", "transformers", "tokenizers")))


def ours(rows: Path, tokenizer: PreTrainedTokenizerBase, folder: Path) -> tuple[float, Callable[[], int]]:
    """A token table in memory-mapped files."""
    source, how = RecordSource("codegen", str(rows), "{prompt}", "answer"), Tokenization(tokenizer, LENGTH)
    start = time.perf_counter()
    table, _ = token_table(lambda: source.examples("train"), how, data_key="rows", cache=folder, workers=1)
    return time.perf_counter() - start, lambda: sum(len(table.row(index)[0]) for index in range(len(table)))


def peer(rows: Path, tokenizer: PreTrainedTokenizerBase, folder: Path) -> tuple[float, Callable[[], int]]:
    """An Arrow data set, tokenized by `map`."""
    import datasets

    def tokenized(batch: dict[str, list[str]]) -> dict[str, Any]:
        examples = [Example("", "codegen", *pair) for pair in zip(batch["prompt"], batch["answer"], strict=True)]
        table, _ = tokenize(examples, tokenizer, LENGTH)
        tokens = [table.row(index)[0] for index in range(len(table))]
        return {"tokens": tokens, "prompt_length": table.prompts}

    datasets.disable_progress_bars()
    start = time.perf_counter()
    data = datasets.load_dataset("json", data_files=str(rows), cache_dir=str(folder), split="train")
    data = data.map(tokenized, batched=True, remove_columns=data.column_names).with_format("numpy")
    return time.perf_counter() - start, lambda: sum(len(data[index]["tokens"]) for index in range(len(data)))


def _write_rows(path: Path, count: int) -> Path:
    rng = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(count):
            prompt, answer = (" ".join(f"{rng.random():.6f}" for _ in range(size)) for size in (40, 20))
            file.write(json.dumps({"prompt": f"def f(x):\n{prompt}", "answer": answer}) + "\n")
    return path


if __name__ == "__main__":
    main()
