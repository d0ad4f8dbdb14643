"""Shards of tokenized rows, each filtered, tokenized and written whole, by one process or several."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from transformers import PreTrainedTokenizerBase

from src.data.examples import Example
from src.data.table import TokenTable
from src.data.tokenize import LengthReport, tokenize
from src.utils.files import atomic_open, sha256_json
from src.utils.threads import cpu_threads

FORMAT = 3  # version of the files; increase it when their meaning changes
SHARD_ROWS = 4096
PARALLEL_ROWS = 20_000  # below this, starting processes takes longer than tokenizing
ARRAYS = ("tokens", "starts", "lengths", "prompts")

Shard = tuple[TokenTable, LengthReport]


class RowFilter(Protocol):
    """A filter of training rows, each judged independently; it is sent to other processes.

    Attributes:
        key: Changes when its behavior changes.
    """

    key: str

    def prepare(self) -> None:
        """Called before the first rows are judged, and before the filter is sent."""
        ...

    def __call__(self, rows: Sequence[Example]) -> list[Example]:
        """The rows to keep."""
        ...


@dataclass(frozen=True)
class Tokenization:
    """Conversion of rows to tokens.

    Args:
        tokenizer: With its chat template and end token set.
        max_length: Longest row in tokens.
        truncation: "truncate", "truncate_end" or "drop" longer rows (see `tokenize`).
        keep: Filter applied to the rows first; None: keep all.
    """

    tokenizer: PreTrainedTokenizerBase
    max_length: int
    truncation: str = "truncate"
    keep: RowFilter | None = None

    def key(self) -> dict[str, Any]:
        """Everything that determines the tokens of a row."""
        backend = json.loads(self.tokenizer.backend_tokenizer.to_str())
        return {
            "format": FORMAT,
            "tokenizer": sha256_json(backend),
            "template": self.tokenizer.chat_template,
            "tokens": {name: str(token) for name, token in self.tokenizer.special_tokens_map.items()},
            "max_length": self.max_length,
            "truncation": self.truncation,
            "filter": None if self.keep is None else self.keep.key,
        }

    def shard(self, rows: Sequence[Example]) -> Shard:
        """Filter and tokenize rows."""
        kept = rows if self.keep is None else self.keep(rows)
        table, report = tokenize(kept, self.tokenizer, self.max_length, self.truncation)
        return table, replace(report, contaminated=len(rows) - len(kept))


def in_shards(rows: Sequence[Example]) -> list[Sequence[Example]]:
    """The rows of each shard; no rows give one empty shard."""
    return [rows[start : start + SHARD_ROWS] for start in range(0, max(1, len(rows)), SHARD_ROWS)]


def read_shard(path: Path) -> Shard:
    """The table of a shard file, and the counts of its truncated and dropped rows."""
    # opened here: numpy would leave a file that is no archive open
    with path.open("rb") as file, np.load(file, allow_pickle=False) as shard:
        table = TokenTable(json.loads(str(shard["ids"])), *(shard[name] for name in ARRAYS))
        return table, LengthReport(**json.loads(str(shard["report"])))


def write_shards(
    shards: list[Sequence[Example]], paths: list[Path], tokenization: Tokenization, workers: int | None
) -> Iterator[None]:
    """Tokenize and write shards; yields once per shard, in order.

    Args:
        shards: Rows of each shard.
        paths: The file of each.
        tokenization: How rows become tokens.
        workers: Number of processes; None: one per core if there are many rows.


    Raises:
        BrokenProcessPool: A process was killed.
    """
    count = min(worker_count(workers), len(shards))
    many = sum(map(len, shards)) >= PARALLEL_ROWS or workers is not None
    if count < 2 or not many:
        yield from map(partial(_write_shard, tokenization=tokenization), shards, paths)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy the locks of tokenizer and torch threads
    stopped = context.Event()
    with ProcessPoolExecutor(count, context, _begin_worker, (stopped, tokenization)) as pool:
        with _interrupts_blocked():  # a worker ended by Ctrl-C while it starts would block the pool forever
            done = pool.map(_work, shards, paths)
        try:
            yield from done
        finally:
            stopped.set()  # the pool has queued more shards than processes, and would still tokenize them all


def worker_count(workers: int | None) -> int:
    """Processes to start; by default one per core that this process may use."""
    return workers if workers is not None else cpu_threads()


def _write_shard(rows: Sequence[Example], path: Path, tokenization: Tokenization) -> None:
    table, report = tokenization.shard(rows)
    arrays = {name: getattr(table, name) for name in ARRAYS}
    with atomic_open(path, "wb") as file:
        np.savez(file, ids=json.dumps(list(table.ids)), report=json.dumps(asdict(report)), **arrays)


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Block SIGINT here, and with it in every process started in this block: they inherit the mask."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_worker: dict[str, Any] = {}  # sent to a worker once instead of with every shard


def _begin_worker(stopped: Event, tokenization: Tokenization) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker.update(stopped=stopped, tokenization=tokenization)


def _end_with_parent() -> None:
    """End this worker when its parent dies: a killed parent cannot stop it, and it would wait for work forever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _work(rows: Sequence[Example], path: Path) -> None:
    if not _worker["stopped"].is_set():
        _write_shard(rows, path, _worker["tokenization"])
