"""JSON Lines, plain or gzipped."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from src.utils.errors import UserError
from src.utils.files import atomic_open, sha256_json
from src.utils.progress import say

SEAL = "seal"  # key of the digest of a line
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
            except (ValueError, RecursionError) as error:  # digits without end are a plain ValueError
                reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
                raise UserError(f"{path}, line {number}: not JSON ({reason})") from error
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


def sealed_line(row: dict[str, Any]) -> str:
    """A line for a file that `read_sealed` reads: one object with a digest of itself."""
    return json.dumps({**row, SEAL: _seal(row)}, ensure_ascii=False) + "\n"


def append_sealed(path: Path, row: dict[str, Any]) -> None:
    """Append one object to a file that `read_sealed` reads."""
    with path.open("a", encoding="utf-8") as file:
        file.write(sealed_line(row))


def read_sealed(path: Path) -> list[dict[str, Any]]:
    """Read a cache or journal to which a killed process may have been appending.

    Damaged and edited lines are removed and named, so that they are made again. A link is replaced by a file, so that
    what is appended does not change its target.

    Returns:
        The objects; none if there is no file.

    Raises:
        UserError: The path is a directory.
    """
    if path.is_dir():
        raise UserError(f"{path} is a directory; expected a file of ours, remove it")
    content = path.read_bytes() if path.exists() else b""
    *lines, rest = content.split(b"\n")
    rows = [row for line in lines if (row := _unsealed(line)) is not None]
    if len(rows) < len(lines):
        say(f"{path}: {len(lines) - len(rows)} of {len(lines)} lines were damaged, and are made again")
    if rest or len(rows) < len(lines) or path.is_symlink():
        with atomic_open(path) as file:
            file.writelines(map(sealed_line, rows))
    return rows


def _seal(row: dict[str, Any]) -> str:
    return sha256_json(row)[:16]


def _unsealed(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
        seal = row.pop(SEAL)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return row if seal == _seal(row) else None
