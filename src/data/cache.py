"""Tokenised once: tables in memory-mapped files, made in parallel, resumed after an interruption.

A table lies in a directory named by the hash of all that decides it. It is made in shards, each written whole; when
all are there they are joined into `.npy` files, and `report.json` comes last: a directory that has it is complete.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from filelock import FileLock
from transformers import PreTrainedTokenizerBase

from src.data.examples import Example
from src.data.table import TokenTable
from src.data.tokenise import LengthReport, tokenise
from src.utils.errors import UserError
from src.utils.files import atomic_open, sha256_json, write_json
from src.utils.progress import track

FORMAT = 1  # of the files; raised when their meaning changes
SHARD_ROWS = 4096
PARALLEL_ROWS = 20_000  # below this, starting processes takes longer than tokenising
ARRAYS = ("tokens", "starts", "lengths", "prompts")


@dataclass(frozen=True)
class Tokenising:
    """How rows become tokens.

    Args:
        tokenizer: With its chat template and end token set.
        max_length: Longest row in tokens.
        over_length: "truncate" or "drop" longer rows.
    """

    tokenizer: PreTrainedTokenizerBase
    max_length: int
    over_length: str = "truncate"

    def key(self) -> dict[str, Any]:
        """What decides the tokens of a row."""
        backend = json.loads(self.tokenizer.backend_tokenizer.to_str())
        return {
            "format": FORMAT,
            "tokenizer": sha256_json(backend),
            "template": self.tokenizer.chat_template,
            "tokens": {name: str(token) for name, token in self.tokenizer.special_tokens_map.items()},
            "max_length": self.max_length,
            "over_length": self.over_length,
        }


class RowFilter(Protocol):
    """Chooses the rows that are trained on.

    Attributes:
        key: Changes with what it does.
    """

    key: str

    def __call__(self, rows: Sequence[Example]) -> list[Example]:
        """The rows that are left."""
        ...


def token_table(
    examples: Callable[[], Sequence[Example]],
    tokenising: Tokenising,
    *,
    keep: RowFilter | None = None,
    data_key: str | None = None,
    cache: Path | None = None,
    workers: int | None = None,
    label: str = "rows",
) -> tuple[TokenTable, LengthReport]:
    """Tokenise the rows of a task, or open what was tokenised before.

    Args:
        examples: Gives the rows; not called where the cache has the table.
        tokenising: How.
        keep: Filter of the rows before that; None: all.
        data_key: Changes with the rows; None: their hash, for which they are read.
        cache: Directory of all cached tables; None: in memory.
        workers: Processes; None: one a core where there are many rows.
        label: Names the rows in the progress bar and in messages.

    Returns:
        The table and what became of the rows.

    Raises:
        UserError: There are no rows, or all are longer than `max_length` and dropped, or they cannot be tokenised.
    """
    if cache is None:
        rows, left_out = _kept(examples(), keep, label)
        found = tokenise(rows, tokenising.tokenizer, tokenising.max_length, tokenising.over_length)
        return _checked(found[0], replace(found[1], contaminated=left_out), label)
    if data_key is None:
        rows = examples()
        data_key = sha256_json([[row.id, row.prompt, row.answer, row.system] for row in rows])
        examples = partial(list[Example], rows)
    key = {**tokenising.key(), "data": data_key, "filter": None if keep is None else keep.key}
    directory = cache / sha256_json(key)[:20]
    with FileLock(f"{_made(directory)}.lock"):
        if not (directory / "report.json").is_file():
            write_json(directory / "key.json", key)
            _build(directory, *_kept(examples(), keep, label), tokenising, workers, label)
    return _open(directory)


def _kept(rows: Sequence[Example], keep: RowFilter | None, label: str) -> tuple[Sequence[Example], int]:
    """The rows that pass, and how many do not."""
    if keep is None:
        return rows, 0
    kept = keep(rows)
    if rows and not kept:
        raise UserError(
            f"{label}: all {len(rows)} rows hold a benchmark item; set data.decontaminate=false or other data"
        )
    return kept, len(rows) - len(kept)


def _build(
    directory: Path, rows: Sequence[Example], left_out: int, tokenising: Tokenising, workers: int | None, label: str
) -> None:
    shards = directory / "shards"
    shards.mkdir(exist_ok=True)
    pieces = [rows[start : start + SHARD_ROWS] for start in range(0, len(rows), SHARD_ROWS)]
    paths = [shards / f"{number:06d}.npz" for number in range(len(pieces))]
    todo = [number for number, path in enumerate(paths) if not path.is_file()]
    work = _results([pieces[number] for number in todo], [paths[number] for number in todo], tokenising, workers)
    for _ in track(work, f"tokenising {label}", total=len(todo)):
        pass
    tables, reports = zip(*(_read_shard(path) for path in paths), strict=True) if paths else ((), ())
    table, report = TokenTable.join(tables) if tables else TokenTable.build([], [], []), sum(reports, LengthReport(0))
    report = replace(report, contaminated=left_out)
    _checked(table, report, label)
    for name in ARRAYS:
        with atomic_open(directory / f"{name}.npy", "wb") as file:
            np.save(file, getattr(table, name))
    write_json(directory / "ids.json", list(table.ids))
    write_json(directory / "report.json", asdict(report))
    shutil.rmtree(shards)


def _results(
    pieces: list[Sequence[Example]], paths: list[Path], tokenising: Tokenising, workers: int | None
) -> Iterator[None]:
    count = workers if workers is not None else (os.cpu_count() or 1)
    many = sum(map(len, pieces)) >= PARALLEL_ROWS or workers is not None
    if count < 2 or not many or len(pieces) < 2:
        yield from map(_write_shard, pieces, paths, repeat(tokenising))
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy the locks of tokenizer and torch threads
    with ProcessPoolExecutor(min(count, len(pieces)), context, initializer=_one_thread) as pool:
        yield from pool.map(_write_shard, pieces, paths, repeat(tokenising))


def _one_thread() -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def _write_shard(rows: Sequence[Example], path: Path, tokenising: Tokenising) -> None:
    table, report = tokenise(rows, tokenising.tokenizer, tokenising.max_length, tokenising.over_length)
    arrays = {name: getattr(table, name) for name in ARRAYS}
    with atomic_open(path, "wb") as file:
        np.savez(file, ids=json.dumps(list(table.ids)), report=json.dumps(asdict(report)), **arrays)


def _read_shard(path: Path) -> tuple[TokenTable, LengthReport]:
    with np.load(path, allow_pickle=False) as shard:
        table = TokenTable(json.loads(str(shard["ids"])), *(shard[name] for name in ARRAYS))
        return table, LengthReport(**json.loads(str(shard["report"])))


def _open(directory: Path) -> tuple[TokenTable, LengthReport]:
    arrays = (np.load(directory / f"{name}.npy", mmap_mode="r") for name in ARRAYS)
    ids = json.loads((directory / "ids.json").read_text(encoding="utf-8"))
    report = json.loads((directory / "report.json").read_text(encoding="utf-8"))
    return TokenTable(ids, *arrays), LengthReport(**report)


def _checked(table: TokenTable, report: LengthReport, label: str) -> tuple[TokenTable, LengthReport]:
    if report.rows == 0:
        raise UserError(f"{label}: no rows; expected at least one; check the sources of this task")
    if len(table) == 0:
        raise UserError(f"{label}: all {report.rows} rows are too long; raise strategy.max_length or truncate them")
    return table, report


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory
