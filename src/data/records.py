"""Rows of files and of Hugging Face data sets as dictionaries, each with its location for error messages."""

from __future__ import annotations

import glob
import gzip
import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from src.utils.errors import UserError
from src.utils.files import sha256_file
from src.utils.jsonl import UNREADABLE, iterate_jsonl

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")
BATCH_ROWS = 1024  # Parquet rows held as Python objects: 65,536 rows of CodeXGLUE would take more than a gigabyte


@dataclass(frozen=True)
class Record:
    """One row.

    Args:
        place: Its file and number, e.g. `data/kodcode/train.jsonl, row 7`; rows count from 1.
        fields: Its values by name.
    """

    place: str
    fields: dict[str, Any]


@dataclass(frozen=True)
class DataSet:
    """Rows in files, or in a data set on the Hub.

    Args:
        files: Existing files in the order in which they are read; empty for a data set on the Hub.
        name: As configured, the split filled in for files; of the Hub `owner/name[:config][@revision]`.
        split: Split of the Hub's data set.
        absent: Patterns tried before it that match no file.
        streaming: Read a data set of the Hub while it is downloaded, and keep nothing on disk.
    """

    files: tuple[Path, ...]
    name: str
    split: str
    absent: tuple[str, ...] = ()
    streaming: bool = False

    def records(self) -> Iterator[Record]:
        """All rows.

        Raises:
            UserError: A file is malformed (the row is named), or the data set cannot be loaded.
        """
        if not self.files:
            yield from _hub_records(self)
        for path in self.files:
            yield from _file_records(path)

    def size(self) -> int | None:
        """Number of rows, for a progress bar; None if only reading them all would tell."""
        if not self.files or any(path.suffix not in (".jsonl", ".parquet") for path in self.files):
            return None
        return sum(_parquet_size(path) if path.suffix == ".parquet" else _lines(path) for path in self.files)

    def fingerprint(self) -> str:
        """Hex SHA-256 of the files' content; a Hub data set is identified by its name, revision and split."""
        parts = [sha256_file(path) for path in self.files] or [self.name, self.split]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def find_data(alternatives: Sequence[str], split: str, key: str, streaming: bool = False) -> DataSet:
    """Find the first of several places that has rows.

    Args:
        alternatives: File patterns (`data/x_{split}*.jsonl.gz`; `**` is any depth of folders), or `owner/name` or
            `owner/name:config` of a data set on the Hub, which counts as present; `@REVISION` after it is a branch, tag
            or commit.
        split: Filled in for `{split}`.
        key: Config key to name in the message.
        streaming: Whether to stream a data set of the Hub.

    Raises:
        UserError: None of the files exists, and no Hub data set is named.
    """
    absent: list[str] = []
    for name in alternatives:
        filled = name.replace("{split}", split)
        files = tuple(Path(path) for path in sorted(glob.glob(filled, recursive=True)) if path.endswith(SUFFIXES))
        if files:
            return DataSet(files, filled, split)
        if not name.endswith(SUFFIXES) and _is_hub_name(name.partition("@")[0]):
            return DataSet((), name, split, tuple(absent), streaming)
        absent.append(filled)
    raise UserError(
        f"{key}: no such file: {', '.join(absent)}; put the data there, or set {key} to your files or a Hub data set"
    )


def _is_hub_name(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith((".", "/", "~"))


def _file_records(path: Path) -> Iterator[Record]:
    rows = _json_rows(path) if path.name.endswith((".json", ".json.gz")) else iterate_jsonl(path)
    if path.suffix == ".parquet":
        rows = _parquet_rows(path)
    number = 0
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise UserError(f"{path}, row {number}: expected an object with fields, got {type(row).__name__}")
        yield Record(f"{path}, row {number}", row)
    if number == 0:
        raise UserError(f"{path} holds no rows; expected one JSON object per line (or a list, or a Parquet table)")


def _json_rows(path: Path) -> Iterator[Any]:
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
        try:
            value = json.load(file)
        except (*UNREADABLE, ValueError) as error:
            raise UserError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, list):
        raise UserError(f"{path}: expected a list of objects, got {type(value).__name__}; or name it .jsonl")
    yield from value


def _parquet_rows(path: Path) -> Iterator[Any]:
    with _parquet(path) as file:
        for batch in file.iter_batches(batch_size=BATCH_ROWS):
            yield from batch.to_pylist()


def _parquet_size(path: Path) -> int:
    with _parquet(path) as file:
        return int(file.metadata.num_rows)


@contextmanager
def _parquet(path: Path) -> Iterator[Any]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield file
    except pyarrow.ArrowException as error:
        raise UserError(f"{path} is not a Parquet file: {error}") from error


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(partial(file.read, 1 << 20), b""))


def _hub_records(data: DataSet) -> Iterator[Record]:
    import datasets

    place, _, revision = data.name.partition("@")
    owner, _, config = place.partition(":")
    asked = {"revision": revision or None, "streaming": data.streaming}
    try:
        rows = datasets.load_dataset(owner, config or None, split=data.split, **asked)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        absent = data.absent
        folder = _folder(absent[0]) if absent else f"data/{owner.split('/')[1]}"
        at = f" --revision {revision}" if revision else ""
        raise UserError(
            f"{''.join(f'no file {pattern}, ' for pattern in absent)}and the data set {data.name} fails to load "
            f"({reason}). With a network connection, run: hf download --repo-type dataset {owner}{at} "
            f"--local-dir {folder}"
        ) from error
    for number, row in enumerate(rows, 1):
        yield Record(f"{data.name} ({data.split}), row {number}", dict(row))


def _folder(pattern: str) -> str:
    """The directory that a pattern looks into."""
    parts = pattern.split("/")[:-1]
    return "/".join(itertools.takewhile(lambda part: "*" not in part, parts))
