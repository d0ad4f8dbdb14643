"""Element-wise arithmetic in plain torch: the reference, on any device.

`NumbaOps` (numba_ops.py) is the compiled version, with bitwise equal results.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from src.merging.backend.counter_rng import uniform
from src.merging.backend.della_probabilities import keep_probabilities
from src.merging.tensors.blocks import Block, BlockFunction, BlockMerger, BlockResult, PointMerge
from src.merging.tensors.parent_tensors import Ops, ParentTensors, Ranked
from src.merging.tensors.reductions import deterministic_sums


class TorchOps:
    """Torch operations on blocks; the default block size is small enough for the allocator to recycle memory.

    Args:
        block: Elements of a block, a multiple of 4,096.
    """

    def __init__(self, block: int = 1 << 14) -> None:
        self.block = block

    def buffer(self, key: Any, size: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """See `Ops`."""
        return torch.empty(size, dtype=dtype, device=device)

    def upcast(self, stored: torch.Tensor, out: torch.Tensor) -> None:
        """See `Ops`."""
        out.copy_(stored)

    def subtract(self, left: torch.Tensor, right: torch.Tensor, out: torch.Tensor) -> None:
        """See `Ops`."""
        torch.sub(left, right, out=out)

    def deterministic_sums(self, values: torch.Tensor, power: int) -> list[float]:
        """See `Ops`."""
        return deterministic_sums(values, power)

    def delta_moments(self, block: Block, index: int) -> tuple[list[float], list[float]]:
        """See `Ops`."""
        return deterministic_sums(block.delta(index), 1), deterministic_sums(block.delta(index), 2)

    def keep_between(self, delta: torch.Tensor, low: float, high: float, scale: float, out: torch.Tensor) -> int:
        """See `Ops`."""
        size = delta.abs()
        return _scaled(torch.mul(delta, (size >= low) & (size <= high), out=out), scale)

    def keep_drawn(
        self, delta: torch.Tensor, seed: int, start: int, density: float, scale: float, out: torch.Tensor
    ) -> int:
        """See `Ops`."""
        drawn = uniform(seed, start, start + delta.numel(), delta.device)
        return _scaled(torch.mul(delta, drawn < torch.tensor(density), out=out), scale)

    def keep_masked(self, delta: torch.Tensor, mask: Any, start: int, scale: float, out: torch.Tensor) -> int:
        """See `Ops`."""
        return _scaled(torch.mul(delta, mask[start : start + delta.numel()], out=out), scale)

    def order_statistics(
        self,
        tensors: ParentTensors,
        key: Any,
        values: Sequence[BlockFunction],
        positions: Sequence[int],
        descending: bool,
    ) -> list[list[Ranked]]:
        """See `Ops`."""
        found = []
        for one in values:
            sizes = torch.cat(tensors.map(lambda block, one=one: one(block).abs()))  # type: ignore[misc]
            found.append([_ranked(sizes, position, descending) for position in positions])
        return found

    def count_bits(self, block: Block, values: BlockFunction, shift: int, width: int, prefix: int) -> NDArray[np.int64]:
        """See `Ops`."""
        bits = values(block).abs().view(torch.int32)
        chosen = (bits[(bits >> (shift + width)) == prefix] >> shift) & ((1 << width) - 1)
        counts: NDArray[np.int64] = torch.bincount(chosen, minlength=1 << width).cpu().numpy()
        return counts

    def rank_masks(self, tensors: ParentTensors, seeds: Sequence[int], density: float, epsilon: float) -> list[Any]:
        """See `Ops`."""

        def mask(block: Block, index: int, seed: int) -> torch.Tensor:
            drawn = uniform(seed, block.start, block.stop, block.base.device)
            return drawn < keep_probabilities(block.delta(index), tensors.row, density, epsilon)

        masks = [partial(mask, index=index, seed=seed) for index, seed in enumerate(seeds)]
        return [torch.cat(tensors.map_rows(one)) for one in masks]

    def block_mergers(self, points: Sequence[PointMerge]) -> list[BlockMerger]:
        """See `Ops`."""
        return [PointMerger(point, self) for point in points]


def _scaled(kept: torch.Tensor, scale: float) -> int:
    """Scale in place; returns the number of elements that are not 0."""
    count = int(torch.count_nonzero(kept))
    kept.mul_(scale)
    return count


def _ranked(sizes: torch.Tensor, position: int, descending: bool) -> Ranked:
    from_smallest = sizes.numel() - 1 - position if descending else position
    magnitude = sizes.kthvalue(from_smallest + 1).values
    equal = (sizes == magnitude).nonzero().reshape(-1)
    place = from_smallest - int((sizes < magnitude).sum())
    return Ranked(float(magnitude), int(equal[len(equal) - 1 - place if descending else place]))


class PointMerger:
    """Merge the blocks of one point, whatever its rule.

    Args:
        point: The point.
        ops: The arithmetic.
    """

    def __init__(self, point: PointMerge, ops: Ops) -> None:
        self._point = point
        self._ops = ops

    def __call__(self, block: Block) -> Iterator[BlockResult]:
        """See `BlockMerger`."""
        point = self._point
        merged = point.merge(block)
        delta = merged - block.base if point.returns_weights else merged
        if point.factor != 1:
            delta = delta * point.factor
        exact = point.returns_weights and point.factor == 1  # base + (weights - base) would round twice
        values = merged if exact else block.base + delta
        yield BlockResult(point.index, values, self._ops.deterministic_sums(delta, 2))
