"""Cached SHA-256 of files: a file with unchanged size, modification time and inode is not read again.

A finished run keeps the hashes of its own files in `run.json`. Hashes for other directories (a published checkpoint, a
copied run) are kept in the user's cache, because we never write into a directory that is not ours.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from src.utils.files import read_json_object, sha256_file, sha256_json, user_cache, write_json
from src.utils.threads import cpu_threads

REMEMBERED_BYTES = 1 << 24  # smaller files are reread in a few milliseconds
SETTLED = 1_000_000_000  # nanoseconds; within a tick of the clock, a file may change without a new time


@dataclass(frozen=True)
class FileState:
    """State of a file when it was hashed.

    Args:
        sha256: Hex digest of its bytes.
        bytes: Size.
        mtime_ns: Time of the last change, in nanoseconds.
        inode: Number in its file system; changes if the file is replaced instead of overwritten.
    """

    sha256: str
    bytes: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path, sha256: str) -> FileState:
        """State of a file whose hash is known."""
        found = path.stat()
        return cls(sha256, found.st_size, found.st_mtime_ns, found.st_ino)

    def describes(self, path: Path) -> bool:
        """True if the file looks untouched since it was hashed; its bytes are not read."""
        found = path.stat()
        return (self.bytes, self.mtime_ns, self.inode) == (found.st_size, found.st_mtime_ns, found.st_ino)


def hash_files(
    paths: Mapping[str, Path], known: Mapping[str, FileState] | None = None, remember: bool = True
) -> dict[str, FileState]:
    """Current state of files; a file is read only if no remembered state describes it.

    Args:
        paths: Files by the caller's names.
        known: Earlier states by the same names.
        remember: Keep the hashes of large files in the user's cache.
    """
    earlier = known or {}
    # hashlib releases the GIL, so shards are hashed in parallel.
    with ThreadPoolExecutor(cpu_threads()) as pool:
        states = pool.map(lambda name: _state(paths[name], earlier.get(name), remember), paths)
        return dict(zip(paths, states, strict=True))


def current_states(paths: Mapping[str, Path], recorded: Mapping[str, FileState]) -> dict[str, FileState]:
    """States of files in which a record is not trusted for small files: this process has read them itself.

    Args:
        paths: Files by name.
        recorded: States by the same names.
    """
    large = {name: state for name, state in recorded.items() if state.bytes >= REMEMBERED_BYTES}
    return hash_files(paths, large)


_seen: dict[Path, FileState] = {}  # small files that this process has read


def _state(path: Path, known: FileState | None, remember: bool) -> FileState:
    if known is not None and known.describes(path):
        return known
    if not remember:
        return _hashed(path)
    if path.stat().st_size < REMEMBERED_BYTES:
        return _reread(path)
    cached = user_cache("hashes") / f"{sha256_json(str(path.resolve()))[:32]}.json"
    with contextlib.suppress(OSError, ValueError, TypeError):  # missing, or in another format
        found = FileState(**read_json_object(cached))
        if found.describes(path):
            return found
    state = _hashed(path)
    with contextlib.suppress(OSError):  # a cache that cannot be written only costs time
        write_json(cached, asdict(state))
    return state


def _reread(path: Path) -> FileState:
    if path in _seen and _seen[path].describes(path):
        return _seen[path]
    state = _hashed(path)
    if abs(time.time_ns() - state.mtime_ns) > SETTLED:
        _seen[path] = state
    return state


def _hashed(path: Path) -> FileState:
    before = path.stat()  # before reading: a file that changes meanwhile is then read again next time
    return FileState(sha256_file(path), before.st_size, before.st_mtime_ns, before.st_ino)
