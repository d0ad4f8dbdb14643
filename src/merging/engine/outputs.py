"""Outputs of a merge: a directory, a model in memory, a function, or nowhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from src.checkpoints import CheckpointWriter, TensorInfo
from src.checkpoints.compat import model_differences
from src.checkpoints.writer import SHARD_BYTES
from src.runs.file_hashes import FileState
from src.utils.errors import UserError, first_differences


class Receiver(Protocol):
    """Takes a point's tensors in parts."""

    @property
    def pending(self) -> Sequence[str]:
        """Tensors still needed; not all of them if an interrupted merge is resumed."""
        ...

    @property
    def notes(self) -> Mapping[str, Any]:
        """Notes passed to `done` for tensors that an earlier attempt finished."""
        ...

    @property
    def states(self) -> Mapping[str, FileState]:
        """Files that were hashed while they were written, once they are published."""
        ...

    def write_part(self, name: str, start: int, values: torch.Tensor) -> None:
        """Take elements [start, start + len(values)); parts come from several threads, in any order."""
        ...

    def done(self, name: str, note: Any = None) -> None:
        """Finish a tensor, all of whose parts have been written."""
        ...


class Sink(Protocol):
    """Opens a receiver for one point."""

    def open(self, table: Mapping[str, TensorInfo], key: str) -> AbstractContextManager[Receiver]:
        """Open a receiver for the tensors in `table`; `key` identifies the parents and recipe."""
        ...


@dataclass(frozen=True)
class ToDirectory:
    """Write a checkpoint's weights (safetensors, completely or not at all, resumable shard by shard).

    Args:
        directory: Directory of the checkpoint.
        shard_bytes: Largest shard in bytes.
        direct: See `CheckpointWriter`.
    """

    directory: Path
    shard_bytes: int = SHARD_BYTES
    direct: bool = False

    def open(self, table: Mapping[str, TensorInfo], key: str) -> AbstractContextManager[Receiver]:
        """See `Sink.open`."""
        return CheckpointWriter(self.directory, table, self.shard_bytes, key, self.direct)


@dataclass(frozen=True)
class ToModel:
    """Copy into the tensors of a model in memory, in place.

    Args:
        state: `model.state_dict()`, or its parameters by name.

    Raises:
        UserError: On opening, if the model lacks tensors, has different shapes, or has tensors that the merge lacks.
    """

    state: Mapping[str, torch.Tensor]

    def open(self, table: Mapping[str, TensorInfo], key: str) -> AbstractContextManager[Receiver]:
        """See `Sink.open`."""
        differences = model_differences(self.state, table)
        if differences:
            raise UserError(first_differences("the merge does not match the model in memory", differences))
        return _Buffers(table, {name: self.state[name].detach() for name in table}, lambda name, tensor: None)


@dataclass(frozen=True)
class ToFunction:
    """Call `function(name, tensor)` with every merged tensor.

    Args:
        function: Called from one thread at a time, in the order of the names.
    """

    function: Callable[[str, torch.Tensor], None]

    def open(self, table: Mapping[str, TensorInfo], key: str) -> AbstractContextManager[Receiver]:
        """See `Sink.open`."""
        return _Buffers(table, {}, self.function)


@dataclass(frozen=True)
class ToNowhere:
    """Discard the weights and keep only the realized strength."""

    def open(self, table: Mapping[str, TensorInfo], key: str) -> AbstractContextManager[Receiver]:
        """See `Sink.open`."""
        return _Dropped(tuple(table))


class _Dropped(AbstractContextManager[Receiver]):
    def __init__(self, names: tuple[str, ...]) -> None:
        self.pending = names
        self.notes: dict[str, Any] = {}
        self.states: dict[str, FileState] = {}

    def write_part(self, name: str, start: int, values: torch.Tensor) -> None:
        return None

    def done(self, name: str, note: Any = None) -> None:
        self.notes[name] = note

    def __exit__(self, *_: object) -> None:
        return None


class _Buffers(AbstractContextManager[Receiver]):
    """Gather parts in memory, in given tensors or in new ones."""

    def __init__(
        self,
        table: Mapping[str, TensorInfo],
        given: Mapping[str, torch.Tensor],
        function: Callable[[str, torch.Tensor], None],
    ) -> None:
        self.pending = tuple(table)
        self.notes: dict[str, Any] = {}
        self.states: dict[str, FileState] = {}
        self._table = table
        self._given = given
        self._function = function
        self._made: dict[str, torch.Tensor] = {}

    def write_part(self, name: str, start: int, values: torch.Tensor) -> None:
        place = self._buffer(name).view(-1)[start : start + values.numel()]
        if place.dtype == values.dtype and place.device == values.device == torch.device("cpu"):
            # copied as bytes: for this size, torch would start its own threads, but ours already use all cores
            np.copyto(place.view(torch.uint8).numpy(), values.view(torch.uint8).numpy())
        else:
            place.copy_(values)

    def done(self, name: str, note: Any = None) -> None:
        self.notes[name] = note
        self._function(name, self._buffer(name))
        self._made.pop(name, None)

    def __exit__(self, *_: object) -> None:
        return None

    def _buffer(self, name: str) -> torch.Tensor:
        if name in self._given:
            return self._given[name]
        info = self._table[name]
        return self._made.setdefault(name, torch.empty(info.shape, dtype=info.dtype))
