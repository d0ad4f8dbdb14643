"""JSON Lines, plain or gzipped."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from src.utils.errors import UserError
from src.utils.files import atomic_open

UNREADABLE = (gzip.BadGzipFile, EOFError, zlib.error, UnicodeDecodeError)  # not gzip, not UTF-8, or truncated


def iterate_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a `.jsonl` or `.jsonl.gz` file; blank lines are skipped.

    Raises:
        UserError: The file is missing or damaged, or a line is not a JSON object; the line is named.
    """
    if not path.is_file():
        raise UserError(f"no such file: {path}")
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8-sig") as file:  # with or without a byte order mark
        for number, line in enumerate(_lines(file, path), 1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(f"{path}, line {number}: not JSON ({error.msg})") from error
            if not isinstance(value, dict):
                raise UserError(f"{path}, line {number}: expected a JSON object, got {type(value).__name__}")
            yield value


def _lines(file: Iterable[str], path: Path) -> Iterator[str]:
    try:
        yield from file
    except UNREADABLE as error:
        raise UserError(f"{path} is damaged, or its contents do not match its name: {error}") from error


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read all objects of a `.jsonl` or `.jsonl.gz` file."""
    return list(iterate_jsonl(path))


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write `rows` to `path` atomically, one JSON object per line."""
    with atomic_open(path) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def append_jsonl(path: Path, row: dict[str, Any]) -> None:
    """Append one object to a file that `read_whole_lines` reads."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")


def read_whole_lines(path: Path) -> list[dict[str, Any]]:
    """Read a file to which a killed process may have been appending; a partial last line is cut off.

    Returns:
        The objects; none if there is no file.
    """
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        path.write_bytes(whole)
    return [json.loads(line) for line in whole.splitlines()]
