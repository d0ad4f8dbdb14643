"""One tensor in base and specialists, seen as float32 blocks that fit the cache.

Legend: K specialists, n elements of the tensor, r its row length (last dimension).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch

from src.merging.fold import UNIT
from src.utils.errors import UserError

if TYPE_CHECKING:
    from src.merging.ops import Ops

T = TypeVar("T")
ROW_BLOCK = 1 << 16  # elements of a block of whole rows, or one row where that is longer
Read = Callable[[int, int], torch.Tensor]


class Block:
    """Elements [start, stop) of a tensor in base and specialists; float32 is made when asked for.

    Its tensors may live in memory that the same thread's next block reuses: copy what must outlive the block.

    Args:
        start: First element, in storage order.
        base: Stored base values of the block, one-dimensional.
        specialists: K functions that give the stored values of the block.
        ops: Provides memory.
    """

    def __init__(
        self, start: int, base: torch.Tensor, specialists: Sequence[Callable[[], torch.Tensor]], ops: Ops
    ) -> None:
        self.start = start
        self.stop = start + base.numel()
        self._stored_base = base
        self._stored = specialists
        self._ops = ops
        self._memo: dict[Any, torch.Tensor] = {}

    @property
    def base(self) -> torch.Tensor:
        """Base values, float32."""
        return self.once("base", lambda out: out.copy_(self._stored_base))

    def specialist(self, index: int) -> torch.Tensor:
        """Values of specialist `index`, float32."""
        return self.once(("specialist", index), lambda out: out.copy_(self._stored[index]()))

    def delta(self, index: int) -> torch.Tensor:
        """Task vector of specialist `index`, float32."""
        return self.once(("delta", index), lambda out: torch.sub(self.specialist(index), self.base, out=out))

    def once(self, key: Any, fill: Callable[[torch.Tensor], object]) -> torch.Tensor:
        """The float32 tensor under `key`, filled on the first call: points that share a sparsifier share its result."""
        if key not in self._memo:
            out = self._ops.buffer(key, self.stop - self.start, self._stored_base.device)
            fill(out)
            self._memo[key] = out
        return self._memo[key]


class Source(Protocol):
    """Where a stack's values come from."""

    path: Any

    def flat(self, name: str, start: int, stop: int) -> torch.Tensor:
        """Stored elements [start, stop) of a tensor, one-dimensional."""
        ...


class Stack:
    """One tensor of all parents, with the whole-tensor quantities that the points of a grid share.

    Args:
        name: Tensor name.
        shape: Its shape.
        labels: Names of the specialists.
        reads: K + 1 functions that read stored elements [start, stop): the base's first.
        ops: The arithmetic: plain torch or compiled.
        pool: Threads that work on blocks.
    """

    def __init__(
        self,
        name: str,
        shape: tuple[int, ...],
        labels: Sequence[str],
        reads: Sequence[Read],
        ops: Ops,
        pool: ThreadPoolExecutor,
    ) -> None:
        self.name = name
        self.shape = shape
        self.labels = tuple(labels)
        self.ops = ops
        self._reads = reads
        self._pool = pool
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
        """`work` of every block, in order, on all threads. Blocks begin at multiples of 4,096 elements."""
        assert self.ops.block % UNIT == 0
        return self._map(work, self.ops.block)

    def map_rows(self, work: Callable[[Block], T]) -> list[T]:
        """`work` of blocks of whole rows, in order, on all threads; they begin at multiples of 8 elements."""
        rows = 8 * max(1, ROW_BLOCK // max(8 * self.row, 1))
        return self._map(work, max(rows * self.row, 1))

    def _map(self, work: Callable[[Block], T], step: int) -> list[T]:
        return list(self._pool.map(lambda start: work(self.block(start, start + step)), range(0, self.numel, step)))

    def block(self, start: int, stop: int) -> Block:
        """Elements [start, stop), or up to the end of the tensor."""
        stop = min(stop, self.numel)

        def reader(read: Read) -> Callable[[], torch.Tensor]:
            return lambda: read(start, stop)

        return Block(start, self._reads[0](start, stop), [reader(read) for read in self._reads[1:]], self.ops)

    def once(self, key: Any, make: Callable[[], T]) -> T:
        """The value under `key`, made on the first call."""
        if key not in self._memo:
            self._memo[key] = make()
        value: T = self._memo[key]
        return value

    def base(self) -> torch.Tensor:
        """All base values, float32, in the tensor's shape."""
        return self._reads[0](0, self.numel).float().reshape(self.shape)

    def weights(self, index: int) -> torch.Tensor:
        """All values of specialist `index`, float32, in the tensor's shape."""
        return self._reads[index + 1](0, self.numel).float().reshape(self.shape)

    def delta(self, index: int) -> torch.Tensor:
        """The whole task vector of specialist `index`, float32, in the tensor's shape."""
        return self.weights(index) - self.base()

    def shared(self) -> torch.Tensor:
        """The stored values, one-dimensional, of a tensor that all parents share.

        Raises:
            UserError: They differ.
        """
        base, *rest = (read(0, self.numel) for read in self._reads)
        for label, values in zip(self.labels, rest, strict=True):
            if not torch.equal(values, base):
                raise UserError(f"{self.name} ({base.dtype}) differs between base and {label}: not mergeable")
        return base

    def norms(self) -> list[float]:
        """Frobenius norms of the K task vectors."""
        return [math.sqrt(square) for _, square in self._sums()]

    def absolute_sums(self) -> list[float]:
        """Sums of |D| of the K task vectors."""
        return [absolute for absolute, _ in self._sums()]

    def _sums(self) -> list[tuple[float, float]]:
        return self.once("sums", lambda: [self._sum(index) for index in range(len(self.labels))])

    def _sum(self, index: int) -> tuple[float, float]:
        fold = self.ops.fold
        parts = self.map(lambda block: (fold(block.delta(index), 1), fold(block.delta(index), 2)))
        absolute, square = (math.fsum(itertools.chain.from_iterable(part[i] for part in parts)) for i in (0, 1))
        return absolute, square
