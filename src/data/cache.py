"""Token tables on disk: tokenized once into memory-mapped files, resumed after an interruption.

A table's directory is named by the hash of everything that determines its content. Shards are written first, then
joined into `.npy` files. `report.json` comes last: a directory that has it is complete.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from filelock import FileLock

from src.data.examples import Example, Examples
from src.data.shards import ARRAYS, Shard, Tokenization, in_shards, read_shard, worker_count, write_shards
from src.data.table import TokenTable
from src.data.tokenize import LengthReport
from src.runs.file_hashes import FileState, current_states, hash_files
from src.utils.errors import Stopped, UserError
from src.utils.files import atomic_open, read_json_object, sha256_json, write_json
from src.utils.progress import say, track
from src.utils.ranks import is_first_of_node

IDS, REPORT = "ids.json", "report.json"
FILES = (*(f"{name}.npy" for name in ARRAYS), IDS)
HEAD_START = 10.0  # seconds by which the process with the progress bar precedes the others on its node


def token_table(
    examples: Callable[[], Sequence[Example]],
    tokenization: Tokenization,
    *,
    data_key: str | None = None,
    cache: Path | None = None,
    workers: int | None = None,
    label: str = "rows",
) -> tuple[TokenTable, LengthReport]:
    """Tokenize the rows of a task, or open the cached table.

    Args:
        examples: Returns the rows; not called if the cache has the table.
        tokenization: How rows become tokens.
        data_key: A key that changes with the rows; None: their hash, which requires reading them.
        cache: Directory of all cached tables; None: in memory.
        workers: Number of processes; None: one per core if there are many rows.
        label: Names the rows in the progress bar and in messages.

    Returns:
        The table, and counts of truncated and dropped rows.

    Raises:
        UserError: There are no rows, or all are longer than `max_length` and dropped, or they cannot be tokenized.
        Stopped: A tokenizing process was killed.
    """
    if cache is None:
        return _in_memory(_prepared(examples, tokenization), tokenization, label)
    if data_key is None:
        rows = examples()
        data_key, examples = _rows_hash(rows), lambda: rows
    key = {**tokenization.key(), "data": data_key}
    directory = cache / sha256_json(key)[:20]
    if not is_first_of_node():
        _wait_for(directory)
    if not _is_sound(directory):
        try:
            directory.mkdir(parents=True, exist_ok=True)
            write_json(directory / "key.json", key)
        except OSError as error:
            say(f"cannot write the cache {cache} ({error.strerror}): rows are tokenized in memory")
            return _in_memory(_prepared(examples, tokenization), tokenization, label)
        with FileLock(f"{directory}.lock"):  # the ranks of a node share the cache; the first one does the work
            if not _is_sound(directory):
                _build(directory, _prepared(examples, tokenization), tokenization, workers, label)
    return _open(directory)


def _rows_hash(rows: Sequence[Example]) -> str:
    return sha256_json([[row.id, row.prompt, row.answer, row.system] for row in rows])


def _in_memory(rows: Sequence[Example], tokenization: Tokenization, label: str) -> Shard:
    shards = in_shards(rows)
    done = track(map(tokenization.shard, shards), _title(label, tokenization), total=len(shards))
    return _joined(done, rows, label)


def _wait_for(directory: Path) -> None:
    """Let the process with the progress bar take the lock first."""
    deadline = time.monotonic() + HEAD_START
    while not _is_complete(directory) and time.monotonic() < deadline:
        time.sleep(0.1)


def _build(
    directory: Path, rows: Sequence[Example], tokenization: Tokenization, workers: int | None, label: str
) -> None:
    folder = directory / "shards"
    folder.mkdir(exist_ok=True)
    shards = in_shards(rows)
    paths = [folder / f"{number:06d}.npz" for number in range(len(shards))]
    todo = [number for number, path in enumerate(paths) if not _is_readable(path)]
    work = write_shards([shards[number] for number in todo], [paths[number] for number in todo], tokenization, workers)
    try:
        for _ in track(work, _title(label, tokenization), total=len(todo)):
            pass
    except BrokenProcessPool as error:
        raise Stopped(
            f"{label}: a tokenizing process was killed, most likely for lack of memory; set data.workers below "
            f"{worker_count(workers)} and run the same command again to resume",
            own=True,
        ) from error
    table, report = _joined(map(read_shard, paths), rows, label)
    for name in ARRAYS:
        with atomic_open(directory / f"{name}.npy", "wb") as file:
            np.save(file, getattr(table, name))
    write_json(directory / IDS, list(table.ids))
    states = hash_files({name: directory / name for name in FILES}, remember=False)
    written = {name: asdict(state) for name, state in states.items()}
    write_json(directory / REPORT, {"report": asdict(report), "files": written})
    shutil.rmtree(folder)


def _open(directory: Path) -> tuple[TokenTable, LengthReport]:
    arrays = (np.load(directory / f"{name}.npy", mmap_mode="r") for name in ARRAYS)
    ids = json.loads((directory / IDS).read_text(encoding="utf-8"))
    return TokenTable(ids, *arrays), LengthReport(**read_json_object(directory / REPORT)["report"])


def _is_sound(directory: Path) -> bool:
    """True if the table is complete and its files are those that were written; a damaged one is said."""
    if not _is_complete(directory):
        return False
    try:
        content = read_json_object(directory / REPORT)
        recorded = {name: FileState(**content["files"][name]) for name in FILES}
        LengthReport(**content["report"])
        found = current_states({name: directory / name for name in FILES}, recorded)
        sound = all(found[name].sha256 == recorded[name].sha256 for name in FILES)
    except (OSError, UserError, KeyError, TypeError):
        sound = False
    if not sound:
        say(f"the token cache {directory} is damaged, and is made again")
        (directory / REPORT).unlink()
    return sound


def _is_readable(path: Path) -> bool:
    """True if a shard of an interrupted attempt is whole; its archive has checksums."""
    try:
        read_shard(path)
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile):
        return False
    return True


def _joined(parts: Iterable[Shard], rows: Sequence[Example], label: str) -> tuple[TokenTable, LengthReport]:
    tables, reports = zip(*parts, strict=True)
    left_out = LengthReport(0, left_out=rows.left_out if isinstance(rows, Examples) else {})
    table, report = TokenTable.join(tables), sum(reports, left_out)
    if report.contaminated and report.rows == 0:
        raise UserError(
            f"{label}: all {report.contaminated} rows contain a benchmark item; change data.decontaminate or the data"
        )
    if report.rows == 0:
        raise UserError(f"{label}: no rows; expected at least one; check the sources of this task")
    if len(table) == 0:
        raise UserError(f"{label}: all {report.rows} rows are too long; raise strategy.max_length or truncate them")
    return table, report


def _prepared(examples: Callable[[], Sequence[Example]], tokenization: Tokenization) -> Sequence[Example]:
    """Read the rows and prepare the filter before our progress bar starts, since reading shows its own."""
    rows = examples()
    if tokenization.keep is not None:
        tokenization.keep.prepare()
    return rows


def _title(label: str, tokenization: Tokenization) -> str:
    return f"{'' if tokenization.keep is None else 'decontaminating and '}tokenizing {label}"


def _is_complete(directory: Path) -> bool:
    return (directory / REPORT).is_file()
