"""Write checkpoints: shards of known content, filled in any order and published together."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from src.checkpoints.layout import INDEX_FILE, NAMES, SINGLE_FILE, TensorInfo, read_header
from src.checkpoints.open_shard import OpenShard
from src.runs.file_hashes import FileState
from src.utils.disk import is_disk_failure
from src.utils.errors import Stopped, UserError
from src.utils.files import sha256_json, write_json

PARTIAL = ".partial"
SHARD_BYTES = 5_000_000_000  # the Hugging Face default


class CheckpointWriter:
    """Write tensors into shards and publish the checkpoint when the last shard is complete.

    Shards grow in `directory/.partial` with every tensor at its final offset, so nothing is held in memory. A complete
    shard is renamed at once: after `kill -9` or Ctrl-C the same writer resumes after the last complete shard. An error
    removes the unfinished work.

    Args:
        directory: Directory of the checkpoint; created if absent.
        table: Shape and dtype of every tensor that will be written, by name.
        shard_bytes: Largest shard in bytes (a larger tensor gets its own shard).
        key: Hash of what the weights are made from; work under another key is discarded instead of resumed.
        direct: Bypass the page cache where possible: for many checkpoints at once, which it could not hold.

    Attributes:
        states: After publishing, size and hash of the shards that this writer began, by their names.

    Raises:
        Stopped: The disk is full or broken.
        UserError: The directory cannot be written to.

    Example:
        >>> with CheckpointWriter(directory, table) as writer:  # doctest: +SKIP
        ...     for name in writer.pending:
        ...         writer.write(name, tensors[name])
    """

    def __init__(
        self,
        directory: Path,
        table: Mapping[str, TensorInfo],
        shard_bytes: int = SHARD_BYTES,
        key: str = "",
        direct: bool = False,
    ) -> None:
        self.directory = directory
        self.states: dict[str, FileState] = {}
        self._hashes: dict[str, str] = {}
        self._direct = direct
        self._shards = _plan(table, shard_bytes)
        self._shard_of = {name: file for file, part in self._shards.items() for name in part}
        self._open: dict[str, OpenShard] = {}
        self._lock = threading.Lock()
        self._key = sha256_json(
            [
                key,
                [
                    [file, name, NAMES[t.dtype], t.shape]
                    for file, part in self._shards.items()
                    for name, t in part.items()
                ],
            ]
        )
        self._done: set[str] = set()
        self._written: dict[str, set[str]] = {file: set() for file in self._shards}
        self.notes: dict[str, Any] = {}

    @property
    def pending(self) -> tuple[str, ...]:
        """Tensors still to be written, sorted: those of shards that no earlier attempt has completed."""
        return tuple(sorted(name for name, file in self._shard_of.items() if file not in self._done))

    def write(self, name: str, tensor: torch.Tensor) -> None:
        """Write a whole tensor of the announced shape and dtype."""
        assert tuple(tensor.shape) == self._shards[self._shard_of[name]][name].shape, name
        self.write_part(name, 0, tensor.reshape(-1))
        self.done(name)

    def write_part(self, name: str, start: int, values: torch.Tensor) -> None:
        """Write elements [start, start + len(values)) of a tensor; parts may come from several threads, in any order.

        Args:
            name: A pending tensor.
            start: First element in storage order.
            values: One-dimensional, in the announced dtype.
        """
        file = self._shard_of[name]
        info = self._shards[file][name]
        assert values.dtype == info.dtype, (name, values.dtype, info.dtype)
        with _disk_errors(self.directory):
            shard = self._begun(file)
            raw = values.detach().cpu().contiguous().view(torch.uint8).numpy()
            shard.put(shard.offsets[name] + start * info.dtype.itemsize, raw)

    def done(self, name: str, note: Any = None) -> None:
        """Mark a tensor as completely written; its shard is renamed after its last tensor. Call from one thread.

        Args:
            name: The tensor.
            note: JSON that a later attempt finds in `notes` if this shard is finished.
        """
        file = self._shard_of[name]
        with _disk_errors(self.directory):
            self._begun(file)  # an empty tensor has no parts
            self.notes[name] = note
            self._written[file].add(name)
            if len(self._written[file]) == len(self._shards[file]):
                self._finish_shard(file)

    def __enter__(self) -> Self:
        with _disk_errors(self.directory):
            partial = self.directory / PARTIAL
            plan = partial / "plan.json"
            if partial.is_dir() and not (plan.is_file() and json.loads(plan.read_text()) == self._key):
                shutil.rmtree(partial)
            partial.mkdir(parents=True, exist_ok=True)
            write_json(plan, self._key)
        self._done = {file for file in self._shards if self._is_finished(file)}
        for file in self._done:
            self.notes |= json.loads(self._notes_path(file).read_text())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for shard in self._open.values():
            shard.close()
        if kind is None:
            assert not self.pending, f"not written: {self.pending[:5]}"
            with _disk_errors(self.directory):
                self._publish()
        elif issubclass(kind, Exception):  # not Ctrl-C: complete shards stay for the next attempt
            self.discard()

    def discard(self) -> None:
        """Remove the unfinished work."""
        for shard in self._open.values():
            shard.close()
        shutil.rmtree(self.directory / PARTIAL, ignore_errors=True)

    def _begun(self, file: str) -> OpenShard:
        with self._lock:
            if file not in self._open:
                self._open[file] = OpenShard(self.directory / PARTIAL / file, self._shards[file], self._direct)
            return self._open[file]

    def _is_finished(self, file: str) -> bool:
        for path in (self.directory / PARTIAL / file, self.directory / file):
            if path.is_file() and {n: e.info for n, e in read_header(path).items()} == dict(self._shards[file]):
                return path.parent.name == PARTIAL or (self.directory / PARTIAL / "moving").is_file()
        return False

    def _finish_shard(self, file: str) -> None:
        write_json(self._notes_path(file), {name: self.notes[name] for name in self._shards[file]})
        if sha256 := self._open.pop(file).finish():
            self._hashes[file] = sha256
        path = self.directory / PARTIAL / file
        os.replace(path.with_name(path.name + ".begun"), path)
        self._done.add(file)

    def _notes_path(self, file: str) -> Path:
        return self.directory / PARTIAL / f"{file}.json"

    def _publish(self) -> None:
        partial = self.directory / PARTIAL
        (partial / "moving").touch()  # from here on a shard in `directory` is known to be ours
        for stale in {*self.directory.glob("model*.safetensors"), self.directory / INDEX_FILE}:
            if stale.name not in self._shards:
                stale.unlink(missing_ok=True)
        for file in self._shards:
            if (partial / file).is_file():
                os.replace(partial / file, self.directory / file)
        if len(self._shards) > 1:
            total = sum(info.nbytes for part in self._shards.values() for info in part.values())
            weight_map = dict(sorted(self._shard_of.items()))
            write_json(self.directory / INDEX_FILE, {"metadata": {"total_size": total}, "weight_map": weight_map})
        shutil.rmtree(partial)
        self.states = {file: FileState.of(self.directory / file, sha256) for file, sha256 in self._hashes.items()}


def write_checkpoint(directory: Path, tensors: Mapping[str, torch.Tensor], shard_bytes: int = SHARD_BYTES) -> None:
    """Write tensors in memory as the weights of a checkpoint."""
    table = {name: TensorInfo(tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}
    with CheckpointWriter(directory, table, shard_bytes) as writer:
        for name in writer.pending:
            writer.write(name, tensors[name])


@contextlib.contextmanager
def _disk_errors(directory: Path) -> Iterator[None]:
    """Turn errors of the operating system (disk full, no permission) into one clear line."""
    try:
        yield
    except OSError as error:
        line = f"cannot write the checkpoint {directory}: {error.strerror or error}"
        if is_disk_failure(error):
            raise Stopped(f"{line}; free some space, then resume with the same command") from error
        raise UserError(f"{line}; choose another output=") from error


def _plan(table: Mapping[str, TensorInfo], shard_bytes: int) -> dict[str, dict[str, TensorInfo]]:
    parts: list[dict[str, TensorInfo]] = [{}]
    size = 0
    for name, info in sorted(table.items()):
        if parts[-1] and size + info.nbytes > shard_bytes:
            parts.append({})
            size = 0
        parts[-1][name] = info
        size += info.nbytes
    if len(parts) == 1:
        return {SINGLE_FILE: parts[0]}
    return {f"model-{i:05d}-of-{len(parts):05d}.safetensors": part for i, part in enumerate(parts, 1)}
