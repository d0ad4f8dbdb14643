"""One tensor of base and specialists as a whole: its blocks, and the quantities that the points of a grid share.

Legend: K specialists, n elements of the tensor, r its row length (last dimension).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from src.merging.tensors.blocks import Block, BlockFunction, BlockMerger, BlockOps, Memory, PointMerge, Read
from src.merging.tensors.lora_factors import Factors
from src.merging.tensors.reductions import UNIT
from src.utils.errors import UserError

T = TypeVar("T")
ROW_BLOCK = 1 << 18  # elements in a block of whole rows; eight rows if those are longer
INLINE = 1 << 15  # elements; smaller tensors are processed in the calling thread


@dataclass(frozen=True)
class Ranked:
    """An element at a rank of a tensor.

    Args:
        magnitude: |x|.
        index: Its position in storage order.
    """

    magnitude: float
    index: int


class Ops(BlockOps, Protocol):
    """The arithmetic of a merge: that on blocks, and what needs a whole tensor."""

    def delta_moments(self, block: Block, index: int) -> tuple[list[float], list[float]]:
        """`deterministic_sums` of specialist `index`'s task vector with powers 1 and 2."""
        ...

    def order_statistics(
        self,
        tensors: ParentTensors,
        key: Any,
        values: Sequence[BlockFunction],
        positions: Sequence[int],
        descending: bool,
    ) -> list[list[Ranked]]:
        """Elements at given ranks, by selection instead of sorting. Equal magnitudes rank in their order of storage.

        Args:
            tensors: The tensor.
            key: Identifies the values; histograms are computed once per key.
            values: Functions of a block; all of them are read in the same passes.
            positions: Ranks, 0 for the smallest magnitude, or with `descending` for the largest.
            descending: Rank from the largest down.

        Returns:
            For each function in `values`, one element per position.
        """
        ...

    def count_bits(self, block: Block, values: BlockFunction, shift: int, width: int, prefix: int) -> NDArray[np.int64]:
        """Histogram (2^width,) of the next `width` bits of |values| above `shift`, for a selection by magnitude.

        Args:
            block: The block.
            values: A function of it.
            shift: Lowest bit that is read, of float32's 31 without the sign.
            width: Number of bits.
            prefix: Only elements whose bits above those equal it are counted.
        """
        ...

    def rank_masks(self, tensors: ParentTensors, seeds: Sequence[int], density: float, epsilon: float) -> list[Any]:
        """MagPrune mask of each specialist's whole tensor, drawn from its seed; undefined where the delta is 0."""
        ...

    def block_mergers(self, points: Sequence[PointMerge]) -> list[BlockMerger]:
        """Callables that together merge the blocks of one tensor for all points."""
        ...


class ParentTensors:
    """One tensor of base and specialists, with whole-tensor quantities that the points of a grid share.

    Args:
        name: Tensor name.
        shape: Its shape.
        labels: Names of the K specialists.
        reads: How to read the base and the specialists, K + 1 functions.
        ops: The arithmetic: plain torch or compiled.
        pool: Threads that work on blocks.
        device: Device of the values.
        factors: How to read the factors of the K task vectors; see `factors`.
    """

    def __init__(
        self,
        name: str,
        shape: tuple[int, ...],
        labels: Sequence[str],
        reads: Sequence[Read],
        ops: Ops,
        pool: ThreadPoolExecutor,
        device: torch.device,
        factors: Sequence[Callable[[], Factors | None]] = (),
    ) -> None:
        self.name = name
        self.shape = shape
        self.labels = tuple(labels)
        self.reads = reads
        self.ops = ops
        self.device = device
        self._pool = pool
        self._factors = factors
        self._memo: dict[Any, Any] = {}

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def row(self) -> int:
        """Row length: the last dimension of a matrix, all of a vector."""
        return self.shape[-1] if len(self.shape) > 1 else self.numel

    def map(self, work: Callable[[Block], T]) -> list[T]:
        """Apply `work` to every block on all threads; results in order. Blocks begin at multiples of 4,096 elements."""
        assert self.ops.block % UNIT == 0
        return self._map(work, self.ops.block)

    def block_at(self, number: int) -> Block:
        """Block `number` of those that `map` works on."""
        start = number * self.ops.block
        return Block(start, min(start + self.ops.block, self.numel), self)

    def map_rows(self, work: Callable[[Block], T]) -> list[T]:
        """Apply `work` to blocks of whole rows on all threads; results in order. They begin at multiples of 8."""
        rows = 8 * max(1, ROW_BLOCK // max(8 * self.row, 1))
        return self._map(work, max(rows * self.row, 1))

    def once(self, key: Any, make: Callable[[], T]) -> T:
        """Value cached under `key`, computed on the first call."""
        if key not in self._memo:
            self._memo[key] = make()
        value: T = self._memo[key]
        return value

    def base(self) -> torch.Tensor:
        """All base values, float32, in the tensor's shape."""
        return self._whole(0).float().reshape(self.shape)

    def weights(self, index: int) -> torch.Tensor:
        """All values of specialist `index`, float32, in the tensor's shape."""
        return self._whole(index + 1).float().reshape(self.shape)

    def delta(self, index: int) -> torch.Tensor:
        """The whole task vector of specialist `index`, float32, in the tensor's shape."""
        return self.weights(index) - self.base()

    def stored(self, parent: int) -> torch.Tensor:
        """All values of the base (0) or of specialist `parent` - 1 in the stored dtype, in the tensor's shape."""
        return self._whole(parent).reshape(self.shape)

    def shared(self) -> torch.Tensor:
        """The stored values, one-dimensional, of a tensor that all parents share.

        Raises:
            UserError: They differ.
        """
        base = self._whole(0)
        for index, label in enumerate(self.labels):
            if not torch.equal(self._whole(index + 1), base):
                raise UserError(f"{self.name} ({base.dtype}) cannot be merged, and differs between base and {label}")
        return base

    def factors(self, index: int) -> Factors | None:
        """Factors of the task vector of specialist `index`, a LoRA adapter; None if it is given only as a whole."""
        found = self._factors[index]() if self._factors else None
        return None if found is None else found.to(self.device)

    def nested(self, name: str, deltas: Sequence[torch.Tensor]) -> ParentTensors:
        """A tensor in memory with the same specialists: K task vectors of one shape, on a base of zeros.

        Args:
            name: Seeds the random methods.
            deltas: K tensors, float32.
        """
        flat = [torch.zeros_like(deltas[0]).reshape(-1), *(delta.reshape(-1) for delta in deltas)]
        reads = [partial(_in_memory, values) for values in flat]
        return ParentTensors(name, tuple(deltas[0].shape), self.labels, reads, self.ops, self._pool, self.device)

    def norms(self) -> list[float]:
        """Frobenius norms of the K task vectors."""
        return [math.sqrt(square) for _, square in self._sums()]

    def absolute_sums(self) -> list[float]:
        """Sums of |D| of the K task vectors."""
        return [absolute for absolute, _ in self._sums()]

    def release(self) -> None:
        """Free memory: parts refer back here, so it would otherwise wait for the garbage collector."""
        self._memo.clear()
        self.reads = ()

    def _sums(self) -> list[tuple[float, float]]:
        return self.once("sums", self._delta_moments)

    def _delta_moments(self) -> list[tuple[float, float]]:
        specialists = range(len(self.labels))
        parts = self.map(lambda block: [self.ops.delta_moments(block, k) for k in specialists])

        def total(index: int, power: int) -> float:
            return math.fsum(itertools.chain.from_iterable(part[index][power] for part in parts))

        return [(total(index, 0), total(index, 1)) for index in specialists]

    def _map(self, work: Callable[[Block], T], step: int) -> list[T]:
        def at(start: int) -> T:
            return work(Block(start, min(start + step, self.numel), self))  # created here, so that it is freed here

        starts = range(0, self.numel, step)
        if self.numel <= INLINE:  # handing a small tensor to another thread takes longer than working on it
            return [at(start) for start in starts]
        return list(self._pool.map(at, starts))

    def _whole(self, parent: int) -> torch.Tensor:
        def memory(size: int, dtype: torch.dtype) -> torch.Tensor:
            return torch.empty(size, dtype=dtype, device=self.device)

        return self.reads[parent](0, self.numel, memory)


def _in_memory(values: torch.Tensor, start: int, stop: int, memory: Memory) -> torch.Tensor:
    return values[start:stop]
