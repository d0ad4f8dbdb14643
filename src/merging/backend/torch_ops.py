"""The arithmetic that touches every element, in plain torch: it runs wherever torch does.

`FusedOps` (fused.py) does the same compiled, with the same result to the last bit.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import torch

from src.merging.backend.counter_rng import uniform
from src.merging.backend.della_probabilities import keep_probabilities
from src.merging.backend.merge_blocks import Emitter, PlainEmitter
from src.merging.tensors.reductions import folded

if TYPE_CHECKING:
    from src.merging.engine.point import PointRun
    from src.merging.methods.rule import BlockMerge
    from src.merging.tensors.blocks import Block, Stack

Values = Callable[["Block"], torch.Tensor]
WORTH_COMPILING = 50_000_000  # elements times points; below it loading the compiler takes longer than it saves


class Ops(Protocol):
    """Element-wise arithmetic on blocks. All tensors are one-dimensional and float32."""

    block: int
    """Elements of a block, a multiple of 4,096; results do not depend on it."""

    def buffer(self, key: Any, size: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """Memory for one result of a block."""
        ...

    def widen(self, stored: torch.Tensor, out: torch.Tensor) -> None:
        """out = stored, in float32."""
        ...

    def subtract(self, left: torch.Tensor, right: torch.Tensor, out: torch.Tensor) -> None:
        """out = left - right."""
        ...

    def fold(self, values: torch.Tensor, power: int) -> list[float]:
        """See `folded`."""
        ...

    def survey(self, block: Block, index: int) -> tuple[list[float], list[float]]:
        """`folded` of specialist `index`'s task vector with powers 1 and 2."""
        ...

    def keep_between(self, delta: torch.Tensor, low: float, high: float, scale: float, out: torch.Tensor) -> None:
        """delta where low <= |delta| <= high, else 0; times scale."""
        ...

    def keep_drawn(
        self, delta: torch.Tensor, seed: int, start: int, density: float, scale: float, out: torch.Tensor
    ) -> None:
        """delta where the draw of its position is below density, else 0; times scale."""
        ...

    def keep_masked(self, delta: torch.Tensor, mask: Any, start: int, scale: float, out: torch.Tensor) -> None:
        """delta where `mask` (from `rank_mask`) is set, else 0; times scale."""
        ...

    def order_statistics(
        self, stack: Stack, key: Any, values: Sequence[Values], positions: Sequence[int]
    ) -> list[list[float]]:
        """The magnitudes with so many smaller ones before them, by selection instead of sorting.

        Args:
            stack: The tensor.
            key: Names the values; what is counted under a key is counted once.
            values: Of a block; several, to be looked at in the same passes.
            positions: Places in ascending order.

        Returns:
            For each of `values` a magnitude a position.
        """
        ...

    def rank_masks(self, stack: Stack, seeds: Sequence[int], density: float, epsilon: float) -> list[Any]:
        """MagPrune's mask of every specialist's whole tensor, drawn from its seed; undefined where the delta is 0."""
        ...

    def emitters(
        self, name: str, merges: Mapping[PointRun, BlockMerge], factors: Mapping[PointRun, float]
    ) -> list[Emitter]:
        """What turns a block of tensor `name` into the values of all points."""
        ...


class PlainOps:
    """Torch operations on blocks, by default so small that the allocator recycles their memory.

    Args:
        block: Elements of a block, a multiple of 4,096.
    """

    def __init__(self, block: int = 1 << 14) -> None:
        self.block = block

    def buffer(self, key: Any, size: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """See `Ops`."""
        return torch.empty(size, dtype=dtype, device=device)

    def widen(self, stored: torch.Tensor, out: torch.Tensor) -> None:
        """See `Ops`."""
        out.copy_(stored)

    def subtract(self, left: torch.Tensor, right: torch.Tensor, out: torch.Tensor) -> None:
        """See `Ops`."""
        torch.sub(left, right, out=out)

    def fold(self, values: torch.Tensor, power: int) -> list[float]:
        """See `Ops`."""
        return folded(values, power)

    def survey(self, block: Block, index: int) -> tuple[list[float], list[float]]:
        """See `Ops`."""
        return folded(block.delta(index), 1), folded(block.delta(index), 2)

    def keep_between(self, delta: torch.Tensor, low: float, high: float, scale: float, out: torch.Tensor) -> None:
        """See `Ops`."""
        size = delta.abs()
        torch.mul(delta, (size >= low) & (size <= high), out=out).mul_(scale)

    def keep_drawn(
        self, delta: torch.Tensor, seed: int, start: int, density: float, scale: float, out: torch.Tensor
    ) -> None:
        """See `Ops`."""
        drawn = uniform(seed, start, start + delta.numel(), delta.device)
        torch.mul(delta, drawn < torch.tensor(density), out=out).mul_(scale)

    def keep_masked(self, delta: torch.Tensor, mask: Any, start: int, scale: float, out: torch.Tensor) -> None:
        """See `Ops`."""
        torch.mul(delta, mask[start : start + delta.numel()], out=out).mul_(scale)

    def order_statistics(
        self, stack: Stack, key: Any, values: Sequence[Values], positions: Sequence[int]
    ) -> list[list[float]]:
        """See `Ops`."""
        found = []
        for one in values:
            sizes = torch.cat(stack.map(lambda block, one=one: one(block).abs()))  # type: ignore[misc]
            found.append([float(sizes.kthvalue(position + 1).values) for position in positions])
        return found

    def rank_masks(self, stack: Stack, seeds: Sequence[int], density: float, epsilon: float) -> list[Any]:
        """See `Ops`."""

        def mask(block: Block, index: int, seed: int) -> torch.Tensor:
            drawn = uniform(seed, block.start, block.stop, block.base.device)
            return drawn < keep_probabilities(block.delta(index), stack.row, density, epsilon)

        masks = [partial(mask, index=index, seed=seed) for index, seed in enumerate(seeds)]
        return [torch.cat(stack.map_rows(one)) for one in masks]

    def emitters(
        self, name: str, merges: Mapping[PointRun, BlockMerge], factors: Mapping[PointRun, float]
    ) -> list[Emitter]:
        """See `Ops`."""
        return [PlainEmitter(run, merge, factors.get(run, 1.0), self) for run, merge in merges.items()]


def choose_ops(work: int, device: torch.device) -> Ops:
    """The arithmetic for `work` (elements times points): compiled where numba is installed and worth loading.

    Results are the same to the last bit either way.
    """
    if device.type != "cpu":
        return PlainOps(block=1 << 24)  # few large kernels, as a GPU likes them
    if work < WORTH_COMPILING or importlib.util.find_spec("numba") is None:
        return PlainOps()
    from src.merging.backend.numba_ops import FusedOps

    return FusedOps()
