"""A shard while it is written: parts come in any order, the disk gets large chunks, the hash all bytes in order.

Large writes that bypass the page cache cost a tenth of the system time of small ones that pass through it; and a file
that is hashed as it is written need not be read again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import mmap
import os
import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from src.checkpoints.layout import TensorInfo, pack_header

CHUNK = 1 << 20  # bytes per write; a multiple of every block size
BLOCK = 1 << 12  # writes that bypass the page cache have this alignment
DIRECT_BYTES = 1 << 26  # smaller files pass through the page cache: they are soon read again
HELD_CHUNKS = 64  # per shard; with parts from all over the shard, further ones are written as they come


class OpenShard:
    """A shard being filled: header and length are final, tensors come in any order, from several threads.

    Args:
        path: Name of the finished shard; until then, `.begun` is appended.
        table: Its tensors in their order.
        direct: Bypass the page cache, if the file is large and its file system can.
    """

    def __init__(self, path: Path, table: Mapping[str, TensorInfo], direct: bool) -> None:
        header, self.offsets = pack_header(table)
        self._begun = path.with_name(path.name + ".begun")
        self._size = len(header) + sum(info.nbytes for info in table.values())
        self._descriptors = contextlib.ExitStack()
        self._buffered = self._open(0)
        os.ftruncate(self._buffered, self._size)
        self._direct = self._open_direct() if direct and self._size >= DIRECT_BYTES else None
        self._lock = threading.Lock()
        self._chunks: dict[int, _Chunk] = {}  # being filled
        self._complete: dict[int, _Chunk] = {}  # written, waiting for the hash of those before them
        self._free: list[np.ndarray] = []
        self._unhashed: set[int] = set()  # chunks whose parts were written as they came
        self._sha256 = hashlib.sha256()
        self._next = 0  # chunk
        self._hashing = False
        self.put(0, np.frombuffer(header, np.uint8))

    def put(self, offset: int, data: np.ndarray) -> None:
        """Write bytes (uint8) at `offset`."""
        done = 0
        while done < data.size:
            index, inside = divmod(offset + done, CHUNK)
            part = data[done : done + CHUNK - inside]
            self._fill(index, inside, part)
            done += part.size

    def finish(self) -> str | None:
        """Flush and close the file; returns its SHA-256, or None if its parts came in too wild an order to tell."""
        assert not self._chunks
        os.ftruncate(self._buffered, self._size)  # the last direct write is a whole block
        os.fdatasync(self._buffered)  # the rename that follows must not survive a power cut without the bytes
        self.close()
        return None if self._unhashed else self._sha256.hexdigest()

    def close(self) -> None:
        """Close the file; safe to call again."""
        self._descriptors.close()

    def _open(self, flags: int) -> int:
        descriptor = os.open(self._begun, os.O_RDWR | os.O_CREAT | flags, 0o666)
        self._descriptors.callback(os.close, descriptor)
        return descriptor

    def _open_direct(self) -> int | None:
        flag = getattr(os, "O_DIRECT", 0)
        with contextlib.suppress(OSError):
            return self._open(flag) if flag else None
        return None

    def _fill(self, index: int, inside: int, part: np.ndarray) -> None:
        with self._lock:
            chunk = self._chunk(index)
        if chunk is None:
            _write(self._buffered, part, index * CHUNK + inside)
            return
        chunk.memory[inside : inside + part.size] = part  # without the lock: parts do not overlap
        with self._lock:
            chunk.missing -= part.size
            if chunk.missing:
                return
            del self._chunks[index]
        self._write_chunk(index, chunk)
        self._hash(index, chunk)

    def _chunk(self, index: int) -> _Chunk | None:
        if index in self._chunks or index in self._unhashed:
            return self._chunks.get(index)
        if len(self._chunks) + len(self._complete) >= HELD_CHUNKS:
            self._unhashed.add(index)
            return None
        memory = self._free.pop() if self._free else np.frombuffer(mmap.mmap(-1, CHUNK), np.uint8)  # aligned
        chunk = self._chunks[index] = _Chunk(memory, min(CHUNK, self._size - index * CHUNK))
        return chunk

    def _write_chunk(self, index: int, chunk: _Chunk) -> None:
        if self._direct is not None:
            try:
                _write(self._direct, chunk.memory[: -(-chunk.size // BLOCK) * BLOCK], index * CHUNK)
                return
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self._direct = None  # this file system wants another alignment
        _write(self._buffered, chunk.memory[: chunk.size], index * CHUNK)

    def _hash(self, index: int, chunk: _Chunk) -> None:
        """Hash all complete chunks that are next in order; one thread at a time, the others go on."""
        with self._lock:
            self._complete[index] = chunk
            if self._unhashed:
                self._complete.clear()
            if self._hashing:
                return
            self._hashing = True
        while True:
            with self._lock:
                following = self._complete.pop(self._next, None)
                if following is None:
                    self._hashing = False
                    return
            self._sha256.update(memoryview(following.memory)[: following.size])
            with self._lock:
                self._next += 1
                self._free.append(following.memory)


class _Chunk:
    """Memory of a chunk, its bytes in the file, and how many of them are missing."""

    def __init__(self, memory: np.ndarray, size: int) -> None:
        self.memory = memory
        self.size = size
        self.missing = size


def _write(descriptor: int, data: np.ndarray, offset: int) -> None:
    view, done = memoryview(data), 0
    while done < len(view):
        done += os.pwrite(descriptor, view[done:], offset + done)
