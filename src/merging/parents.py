"""One tensor in base and specialists, seen as float32 blocks that fit the cache.

Legend: K specialists, n elements of the tensor, r its row length (last dimension).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, TypeVar

import torch

from src.checkpoints import Checkpoint, TensorInfo
from src.utils.errors import UserError

T = TypeVar("T")
BLOCK = 1 << 16  # elements: a handful of float32 arrays of this length fit a core's cache
FOLD = 1 << 12


class Block:
    """Elements [start, stop) of a tensor in base and specialists; float32 is made when asked for.

    Args:
        start: First element, in storage order; the beginning of a row.
        base: Stored base values of the block, one-dimensional.
        specialists: K stored values of the block.
    """

    def __init__(self, start: int, base: torch.Tensor, specialists: Sequence[torch.Tensor]) -> None:
        self.start = start
        self.stop = start + base.numel()
        self._stored_base = base
        self._stored = specialists
        self._memo: dict[Any, torch.Tensor] = {}

    @cached_property
    def base(self) -> torch.Tensor:
        """Base values, float32."""
        return self._stored_base.float()

    @cached_property
    def specialists(self) -> list[torch.Tensor]:
        """K specialists' values, float32."""
        return [stored.float() for stored in self._stored]

    def delta(self, index: int) -> torch.Tensor:
        """Task vector of specialist `index`, float32."""
        return self.once(("delta", index), lambda: self.specialists[index] - self.base)

    def once(self, key: Any, make: Callable[[], torch.Tensor]) -> torch.Tensor:
        """The tensor under `key`, made on the first call: points that share a sparsifier share its result."""
        if key not in self._memo:
            self._memo[key] = make()
        return self._memo[key]


class Stack:
    """One tensor of all parents, with the whole-tensor quantities that the points of a grid share.

    Args:
        name: Tensor name.
        shape: Its shape.
        base: Stored base values, one-dimensional.
        specialists: Stored values by specialist, one-dimensional.
        pool: Threads that work on blocks.
    """

    def __init__(
        self,
        name: str,
        shape: tuple[int, ...],
        base: torch.Tensor,
        specialists: Mapping[str, torch.Tensor],
        pool: ThreadPoolExecutor,
    ) -> None:
        self.name = name
        self.shape = shape
        self.labels = tuple(specialists)
        self._base = base
        self._specialists = list(specialists.values())
        self._pool = pool
        self._memo: dict[Any, Any] = {}

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def is_floating(self) -> bool:
        """Whether there is anything to merge: buffers of integers or flags are only copied."""
        return self._base.is_floating_point()

    def shared(self) -> torch.Tensor:
        """The stored values, one-dimensional, of a tensor that all parents share.

        Raises:
            UserError: They differ.
        """
        for label, values in zip(self.labels, self._specialists, strict=True):
            if not torch.equal(values, self._base):
                raise UserError(f"{self.name} ({self._base.dtype}) differs between base and {label}: not mergeable")
        return self._base

    @property
    def row(self) -> int:
        """Row length: the last dimension of a matrix, all of a vector."""
        return self.shape[-1] if len(self.shape) > 1 else self.numel

    @cached_property
    def starts(self) -> range:
        """First elements of the blocks: whole rows, and a partition that depends on nothing but the shape."""
        return range(0, self.numel, max(1, BLOCK // max(self.row, 1)) * max(self.row, 1))

    def block(self, start: int) -> Block:
        """The block that begins at `start`."""
        stop = min(start + self.starts.step, self.numel)
        return Block(start, self._base[start:stop], [tensor[start:stop] for tensor in self._specialists])

    def map(self, work: Callable[[Block], T]) -> list[T]:
        """`work` of every block, in order, on all threads."""
        return list(self._pool.map(lambda start: work(self.block(start)), self.starts))

    def once(self, key: Any, make: Callable[[], T]) -> T:
        """The value under `key`, made on the first call."""
        if key not in self._memo:
            self._memo[key] = make()
        value: T = self._memo[key]
        return value

    def delta(self, index: int) -> torch.Tensor:
        """The whole task vector of specialist `index`, float32, in the tensor's shape."""
        return (self._specialists[index].float() - self._base.float()).reshape(self.shape)

    def weights(self, index: int) -> torch.Tensor:
        """All weights of specialist `index`, float32, in the tensor's shape."""
        return self._specialists[index].float().reshape(self.shape)

    def norms(self) -> list[float]:
        """Frobenius norms of the K task vectors."""
        return self.once("norms", self._norms)

    def _norms(self) -> list[float]:
        parts = self.map(lambda block: [folded(block.delta(i).square()) for i in range(len(self.labels))])
        return [math.sqrt(math.fsum(math.fsum(part[i]) for part in parts)) for i in range(len(self.labels))]


def read_stack(name: str, base: Checkpoint, specialists: Mapping[str, Checkpoint], pool: ThreadPoolExecutor) -> Stack:
    """Read one tensor of all parents, each once.

    Raises:
        UserError: A parent holds NaN or infinite values.
    """
    info: TensorInfo = base.table[name]
    stored = {label: _finite(label, name, parent) for label, parent in specialists.items()}
    return Stack(name, info.shape, _finite("base", name, base), stored, pool)


def _finite(label: str, name: str, parent: Checkpoint) -> torch.Tensor:
    values = parent.flat(name, 0, parent.table[name].numel)
    if not bool(
        torch.isfinite(values.sum(dtype=torch.float64))
    ):  # NaN and infinity survive a sum, and one pass is cheap
        bad = int((~torch.isfinite(values)).sum())
        raise UserError(
            f"{parent.path} ({label}) holds {bad} NaN or infinite values in {name}; train or export it again"
        )
    return values


def folded(values: torch.Tensor) -> list[float]:
    """Sums of `values` (n,) over 4,096 elements each, in float64 and in one fixed order.

    The order is a tree of halves that any vector unit, thread count or device reproduces to the last bit; add the
    parts with `math.fsum`, which is exact, and the total depends on nothing but the values.
    """
    parts = torch.nn.functional.pad(values.double(), (0, -values.numel() % FOLD)).reshape(-1, FOLD)
    while parts.shape[1] > 1:
        half = parts.shape[1] // 2
        parts = parts[:, :half] + parts[:, half:]
    sums: list[float] = parts[:, 0].tolist()
    return sums
