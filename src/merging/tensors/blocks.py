"""Blocks of one tensor of base and specialists: float32, of a size that fits the cache, and the arithmetic on them.

Legend: n elements of a block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch

Memory = Callable[[int, torch.dtype], torch.Tensor]
Read = Callable[[int, int, Memory], torch.Tensor]
"""Stored elements [start, stop) of a parent's tensor: a view of data in memory, or read into the given memory."""


class BlockOps(Protocol):
    """Element-wise arithmetic on blocks. All tensors are one-dimensional and float32."""

    block: int
    """Number of elements in a block, a multiple of 4,096; results do not depend on it."""

    def buffer(self, key: Any, size: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """Memory for one result of a block."""
        ...

    def upcast(self, stored: torch.Tensor, out: torch.Tensor) -> None:
        """out = stored, in float32."""
        ...

    def subtract(self, left: torch.Tensor, right: torch.Tensor, out: torch.Tensor) -> None:
        """out = left - right."""
        ...

    def deterministic_sums(self, values: torch.Tensor, power: int) -> list[float]:
        """See `deterministic_sums`."""
        ...

    def keep_between(self, delta: torch.Tensor, low: float, high: float, scale: float, out: torch.Tensor) -> int:
        """delta where low <= |delta| <= high, else 0; times scale. Returns how many of `out` are not 0."""
        ...

    def keep_drawn(
        self, delta: torch.Tensor, seed: int, start: int, density: float, scale: float, out: torch.Tensor
    ) -> int:
        """delta where the random number at its position is below density, else 0; times scale. Returns as above."""
        ...

    def keep_masked(self, delta: torch.Tensor, mask: Any, start: int, scale: float, out: torch.Tensor) -> int:
        """delta where `mask` (from `rank_masks`) is set, else 0; times scale. Returns as above."""
        ...


class BlockSource(Protocol):
    """The tensor that a block is cut from."""

    @property
    def reads(self) -> Sequence[Read]:
        """How to read the base and the specialists."""
        ...

    @property
    def ops(self) -> BlockOps:
        """The arithmetic."""
        ...

    @property
    def device(self) -> torch.device:
        """Device of the values."""
        ...


class Block:
    """Elements [start, stop) of a tensor in base and specialists; read and upcast to float32 on first use.

    Its tensors may be in memory that the thread's next block reuses: copy anything that must outlive the block.

    Args:
        start: First element, in storage order.
        stop: Element after the last.
        source: The whole tensor.
    """

    def __init__(self, start: int, stop: int, source: BlockSource) -> None:
        self.start = start
        self.stop = stop
        self._source = source
        self._memo: dict[Any, torch.Tensor] = {}

    @property
    def base(self) -> torch.Tensor:
        """Base values, float32."""
        return self._values(0)

    def specialist(self, index: int) -> torch.Tensor:
        """Values of specialist `index`, float32."""
        return self._values(index + 1)

    def delta(self, index: int) -> torch.Tensor:
        """Task vector of specialist `index`, float32."""
        subtract = self._source.ops.subtract
        return self.once(("delta", index), lambda out: subtract(self.specialist(index), self.base, out))

    def stored(self, parent: int) -> torch.Tensor:
        """Values of the base (0) or of specialist `parent` - 1 in the stored dtype, one-dimensional."""
        key = ("stored", parent)
        if key not in self._memo:
            self._memo[key] = self._source.reads[parent](self.start, self.stop, partial(self._memory, key))
        return self._memo[key]

    def once(self, key: Any, fill: Callable[[torch.Tensor], object]) -> torch.Tensor:
        """Float32 tensor under `key`, filled on the first call, so that points with the same sparsifier share it."""
        if key not in self._memo:
            out = self._memory(key, self.stop - self.start, torch.float32)
            fill(out)
            self._memo[key] = out
        return self._memo[key]

    def _values(self, parent: int) -> torch.Tensor:
        key = ("values", parent)
        if key not in self._memo:
            stored = self.stored(parent)
            if stored.dtype is torch.float32:
                self._memo[key] = stored
            else:
                self.once(key, lambda out: self._source.ops.upcast(stored, out))
        return self._memo[key]

    def _memory(self, key: Any, size: int, dtype: torch.dtype) -> torch.Tensor:
        return self._source.ops.buffer(key, size, dtype, self._source.device)


@dataclass(frozen=True)
class Delta:
    """The task vector of specialist `index`, as a function of the block."""

    index: int

    def __call__(self, block: Block) -> torch.Tensor:
        return block.delta(self.index)


BlockFunction = Callable[[Block], torch.Tensor]
"""Returns float32 values (n,) of a block: a task vector, its kept part, or merged weights. Thread-safe."""


@dataclass(frozen=True)
class PointMerge:
    """The merge of one tensor at one grid point.

    Args:
        index: Index of the point in its grid.
        merge: Returns a block's merged weights or merged delta.
        returns_weights: Whether `merge` returns weights; otherwise a delta, which is added to the base.
        output_dtype: Dtype of the merged tensor.
        factor: Factor on the merged delta.
    """

    index: int
    merge: BlockFunction
    returns_weights: bool
    output_dtype: torch.dtype
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class BlockResult:
    """Merged weights of one block at one grid point.

    Args:
        index: Index of the point in its grid.
        values: Merged weights, float32 or already in the output dtype.
        squares: Partial sums of the squared merged delta, to be added exactly.
        largest: Largest magnitude before the cast, or NaN; None if the backend does not know it.
    """

    index: int
    values: torch.Tensor
    squares: list[float]
    largest: float | None = None


class BlockMerger(Protocol):
    """Merge a block for one or more points."""

    def __call__(self, block: Block) -> Iterator[BlockResult]:
        """One result per point; its values are in memory that the next result may reuse."""
        ...
