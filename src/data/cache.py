"""Tokenized once: tables in memory-mapped files, made in parallel, resumed after an interruption.

A table lies in a directory named by the hash of all that decides it. It is made in shards, each filtered, tokenized and
written whole; when all are there they are joined into `.npy` files, and `report.json` comes last: a directory that has
it is complete.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from filelock import FileLock
from transformers import PreTrainedTokenizerBase

from src.data.examples import Example
from src.data.table import TokenTable
from src.data.tokenize import LengthReport, tokenize
from src.utils.errors import Stopped, UserError
from src.utils.files import atomic_open, sha256_json, write_json
from src.utils.progress import track
from src.utils.ranks import is_first_of_node

FORMAT = 1  # of the files; raised when their meaning changes
SHARD_ROWS = 4096
PARALLEL_ROWS = 20_000  # below this, starting processes takes longer than tokenizing
HEAD_START = 10.0  # seconds that the process with the progress bar has before the others of its node
ARRAYS = ("tokens", "starts", "lengths", "prompts")


@dataclass(frozen=True)
class Tokenization:
    """How rows become tokens.

    Args:
        tokenizer: With its chat template and end token set.
        max_length: Longest row in tokens.
        truncation: "truncate" or "drop" longer rows.
    """

    tokenizer: PreTrainedTokenizerBase
    max_length: int
    truncation: str = "truncate"

    def key(self) -> dict[str, Any]:
        """What decides the tokens of a row."""
        backend = json.loads(self.tokenizer.backend_tokenizer.to_str())
        return {
            "format": FORMAT,
            "tokenizer": sha256_json(backend),
            "template": self.tokenizer.chat_template,
            "tokens": {name: str(token) for name, token in self.tokenizer.special_tokens_map.items()},
            "max_length": self.max_length,
            "truncation": self.truncation,
        }


class RowFilter(Protocol):
    """Chooses the rows that are trained on, each by itself; it is sent to other processes.

    Attributes:
        key: Changes with what it does.
    """

    key: str

    def prepare(self) -> None:
        """Called before the first rows are chosen, and before it is sent."""
        ...

    def __call__(self, rows: Sequence[Example]) -> list[Example]:
        """The rows that are left."""
        ...


def token_table(
    examples: Callable[[], Sequence[Example]],
    tokenization: Tokenization,
    *,
    keep: RowFilter | None = None,
    data_key: str | None = None,
    cache: Path | None = None,
    workers: int | None = None,
    label: str = "rows",
) -> tuple[TokenTable, LengthReport]:
    """Tokenize the rows of a task, or open what was tokenized before.

    Args:
        examples: Gives the rows; not called where the cache has the table.
        tokenization: How.
        keep: Filter of the rows before that; None: all.
        data_key: Changes with the rows; None: their hash, for which they are read.
        cache: Directory of all cached tables; None: in memory.
        workers: Processes; None: one a core where there are many rows.
        label: Names the rows in the progress bar and in messages.

    Returns:
        The table and what became of the rows.

    Raises:
        UserError: There are no rows, or all are longer than `max_length` and dropped, or they cannot be tokenized.
        Stopped: A process that tokenizes was killed.
    """
    if cache is None:
        pieces = _pieces(_prepared(examples, keep))
        parts = (_part(piece, tokenization, keep) for piece in pieces)
        return _joined(track(parts, _title(label, keep), total=len(pieces)), label)
    if data_key is None:
        rows = examples()
        data_key = sha256_json([[row.id, row.prompt, row.answer, row.system] for row in rows])
        examples = partial(list[Example], rows)
    key = {**tokenization.key(), "data": data_key, "filter": None if keep is None else keep.key}
    directory = cache / sha256_json(key)[:20]
    if not is_first_of_node():
        _wait_for(directory)
    with FileLock(f"{_made(directory)}.lock"):
        if not _is_complete(directory):
            write_json(directory / "key.json", key)
            _build(directory, _prepared(examples, keep), tokenization, keep, workers, label)
    return _open(directory)


def _wait_for(directory: Path) -> None:
    """Lets the process with the progress bar begin."""
    deadline = time.monotonic() + HEAD_START
    while not _is_complete(directory) and time.monotonic() < deadline:
        time.sleep(0.1)


def _build(
    directory: Path,
    rows: Sequence[Example],
    tokenization: Tokenization,
    keep: RowFilter | None,
    workers: int | None,
    label: str,
) -> None:
    shards = directory / ("shards" if keep is None else "filtered")
    shards.mkdir(exist_ok=True)
    pieces = _pieces(rows)
    paths = [shards / f"{number:06d}.npz" for number in range(len(pieces))]
    todo = [number for number, path in enumerate(paths) if not path.is_file()]
    work = _results(
        [pieces[number] for number in todo], [paths[number] for number in todo], tokenization, keep, workers
    )
    try:
        for _ in track(work, _title(label, keep), total=len(todo)):
            pass
    except BrokenProcessPool as error:
        raise Stopped(
            f"{label}: a process that tokenizes was killed, most often for want of memory; set data.workers lower than "
            f"{_count(workers)}, and the same command goes on from here",
            own=True,
        ) from error
    table, report = _joined(map(_read_shard, paths), label)
    for name in ARRAYS:
        with atomic_open(directory / f"{name}.npy", "wb") as file:
            np.save(file, getattr(table, name))
    write_json(directory / "ids.json", list(table.ids))
    write_json(directory / "report.json", asdict(report))
    shutil.rmtree(shards)


def _results(
    pieces: list[Sequence[Example]],
    paths: list[Path],
    tokenization: Tokenization,
    keep: RowFilter | None,
    workers: int | None,
) -> Iterator[None]:
    count = min(_count(workers), len(pieces))
    many = sum(map(len, pieces)) >= PARALLEL_ROWS or workers is not None
    if count < 2 or not many:
        yield from map(partial(_write_shard, tokenization=tokenization, keep=keep), pieces, paths)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy the locks of tokenizer and torch threads
    stopped = context.Event()
    with ProcessPoolExecutor(count, context, _begin_worker, (stopped, tokenization, keep)) as pool:
        with _interrupts_kept():  # a worker that Ctrl-C ends while it starts blocks the pool
            done = pool.map(_work, pieces, paths)
        try:
            yield from done
        finally:
            stopped.set()  # the pool has taken on more shards than it has processes, and would do them all


def _count(workers: int | None) -> int:
    return workers if workers is not None else len(os.sched_getaffinity(0))


@contextmanager
def _interrupts_kept() -> Iterator[None]:
    """Processes that are started in this block never get Ctrl-C."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_worker: dict[str, Any] = {}  # what a worker is sent once, rather than with every shard


def _begin_worker(stopped: Event, tokenization: Tokenization, keep: RowFilter | None) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker.update(stopped=stopped, how={"tokenization": tokenization, "keep": keep})


def _end_with_parent() -> None:
    """A parent that is killed cannot stop its workers; they would wait for it forever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _work(rows: Sequence[Example], path: Path) -> None:
    if not _worker["stopped"].is_set():
        _write_shard(rows, path, **_worker["how"])


def _write_shard(rows: Sequence[Example], path: Path, tokenization: Tokenization, keep: RowFilter | None) -> None:
    table, report = _part(rows, tokenization, keep)
    arrays = {name: getattr(table, name) for name in ARRAYS}
    with atomic_open(path, "wb") as file:
        np.savez(file, ids=json.dumps(list(table.ids)), report=json.dumps(asdict(report)), **arrays)


def _part(
    rows: Sequence[Example], tokenization: Tokenization, keep: RowFilter | None
) -> tuple[TokenTable, LengthReport]:
    kept = rows if keep is None else keep(rows)
    table, report = tokenize(kept, tokenization.tokenizer, tokenization.max_length, tokenization.truncation)
    return table, replace(report, contaminated=len(rows) - len(kept))


def _read_shard(path: Path) -> tuple[TokenTable, LengthReport]:
    with np.load(path, allow_pickle=False) as shard:
        table = TokenTable(json.loads(str(shard["ids"])), *(shard[name] for name in ARRAYS))
        return table, LengthReport(**json.loads(str(shard["report"])))


def _open(directory: Path) -> tuple[TokenTable, LengthReport]:
    arrays = (np.load(directory / f"{name}.npy", mmap_mode="r") for name in ARRAYS)
    ids = json.loads((directory / "ids.json").read_text(encoding="utf-8"))
    report = json.loads((directory / "report.json").read_text(encoding="utf-8"))
    return TokenTable(ids, *arrays), LengthReport(**report)


def _joined(parts: Iterable[tuple[TokenTable, LengthReport]], label: str) -> tuple[TokenTable, LengthReport]:
    tables, reports = zip(*parts, strict=True)
    table, report = TokenTable.join(tables), sum(reports, LengthReport(0))
    if report.contaminated and report.rows == 0:
        raise UserError(
            f"{label}: all {report.contaminated} rows hold a benchmark item; set data.decontaminate=false or other data"
        )
    if report.rows == 0:
        raise UserError(f"{label}: no rows; expected at least one; check the sources of this task")
    if len(table) == 0:
        raise UserError(f"{label}: all {report.rows} rows are too long; raise strategy.max_length or truncate them")
    return table, report


def _prepared(examples: Callable[[], Sequence[Example]], keep: RowFilter | None) -> Sequence[Example]:
    """The rows, read while no progress bar but their own is shown; likewise the filter."""
    rows = examples()
    if keep is not None:
        keep.prepare()
    return rows


def _pieces(rows: Sequence[Example]) -> list[Sequence[Example]]:
    """What a shard is made from; one empty piece of no rows."""
    return [rows[start : start + SHARD_ROWS] for start in range(0, max(1, len(rows)), SHARD_ROWS)]


def _title(label: str, keep: RowFilter | None) -> str:
    return f"{'' if keep is None else 'decontaminating and '}tokenizing {label}"


def _is_complete(directory: Path) -> bool:
    return (directory / "report.json").is_file()


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory
