"""The arithmetic of torch_ops.py, compiled with numba for the CPU, with bitwise equal results."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from src.merging.backend import numba_kernels as kernels
from src.merging.backend import numba_ranks as rank_kernels
from src.merging.backend.combine import Combination, Mean, total_coefficient
from src.merging.backend.della_probabilities import rank_probabilities
from src.merging.backend.selection import Prefixes, select
from src.merging.backend.torch_ops import PointMerger
from src.merging.tensors.blocks import Block, BlockFunction, BlockMerger, BlockResult, Delta, PointMerge
from src.merging.tensors.parent_tensors import ParentTensors, Ranked
from src.merging.tensors.reductions import UNIT


class NumbaOps:
    """Numba kernels on blocks in memory that each thread reuses."""

    # about 20 MB of buffers per thread; smaller blocks fit a closer cache but spend more time in Python
    block = 1 << 18

    def __init__(self) -> None:
        self._local = threading.local()

    def buffer(self, key: Any, size: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """See `Ops`."""
        raw = self.array((key, dtype), (size * dtype.itemsize,), np.uint8)
        return torch.from_numpy(raw).view(dtype)

    def upcast(self, stored: torch.Tensor, out: torch.Tensor) -> None:
        """See `Ops`."""
        if stored.dtype is torch.bfloat16:
            kernels.upcast_bfloat16(stored.view(torch.uint16).numpy(), out.numpy().view(np.uint32))
        else:
            out.copy_(stored)

    def subtract(self, left: torch.Tensor, right: torch.Tensor, out: torch.Tensor) -> None:
        """See `Ops`."""
        kernels.subtract(left.numpy(), right.numpy(), out.numpy())

    def array(self, key: Any, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Array of this thread under `key`; it is overwritten when the key is used again."""
        held: dict[Any, np.ndarray] = self._local.__dict__
        size = math.prod(shape)
        array = held.get(key)
        if array is None or array.size < size or array.dtype != dtype:
            array = held[key] = np.empty(size, dtype)
        return array[:size].reshape(shape)

    def deterministic_sums(self, values: torch.Tensor, power: int) -> list[float]:
        """See `Ops`."""
        sums = np.empty(-(-values.numel() // UNIT))
        add_up = kernels.square_sums if power == 2 else kernels.absolute_sums
        add_up(values.numpy(), self.array("sums of units", (UNIT,), np.float64), sums)
        found: list[float] = sums.tolist()
        return found

    def delta_moments(self, block: Block, index: int) -> tuple[list[float], list[float]]:
        """See `Ops`."""
        units = -(-(block.stop - block.start) // UNIT)
        absolute, squares = np.empty(units), np.empty(units)
        rank_kernels.delta_moments(_stored(block, 0), _stored(block, index + 1), absolute, squares)
        return absolute.tolist(), squares.tolist()

    def keep_between(self, delta: torch.Tensor, low: float, high: float, scale: float, out: torch.Tensor) -> int:
        """See `Ops`."""
        return int(
            kernels.keep_between(delta.numpy(), np.float32(low), np.float32(high), np.float32(scale), out.numpy())
        )

    def keep_drawn(
        self, delta: torch.Tensor, seed: int, start: int, density: float, scale: float, out: torch.Tensor
    ) -> int:
        """See `Ops`."""
        limit = np.float32(density)
        return int(kernels.keep_drawn(delta.numpy(), np.uint64(seed), start, limit, np.float32(scale), out.numpy()))

    def keep_masked(self, delta: torch.Tensor, mask: Any, start: int, scale: float, out: torch.Tensor) -> int:
        """See `Ops`."""
        return int(kernels.keep_masked(delta.numpy(), mask[start // 8 :], np.float32(scale), out.numpy()))

    def order_statistics(
        self,
        tensors: ParentTensors,
        key: Any,
        values: Sequence[BlockFunction],
        positions: Sequence[int],
        descending: bool,
    ) -> list[list[Ranked]]:
        """See `Ops`: each of three passes narrows a position down to one bucket of a histogram."""
        ranks = [tensors.numel - 1 - position if descending else position for position in positions]

        def histograms(shift: int, width: int, wanted: Prefixes) -> dict[tuple[int, int], np.ndarray]:
            make = partial(self._histograms, tensors, values, shift, width, wanted)
            return tensors.once(("histograms", key, shift, wanted), make)

        found = select([(k, rank) for k in range(len(values)) for rank in ranks], histograms)

        def ranked(k: int, rank: int) -> Ranked:
            one = found[k, rank]
            number, nth = one.part(descending)
            block = tensors.block_at(number)
            equal = np.flatnonzero(np.abs(values[k](block).numpy()) == np.float32(one.magnitude))
            return Ranked(one.magnitude, block.start + int(equal[nth]))

        return [[ranked(k, rank) for rank in ranks] for k in range(len(values))]

    def count_bits(self, block: Block, values: BlockFunction, shift: int, width: int, prefix: int) -> np.ndarray:
        """See `Ops`."""
        counts = np.zeros(1 << width, np.int64)
        look = (np.uint32(shift), np.uint32(prefix), np.uint32(shift + width), counts)
        if isinstance(values, Delta):
            rank_kernels.count_deltas(_stored(block, 0), _stored(block, values.index + 1), *look)
        else:
            rank_kernels.count_bits(values(block).numpy().view(np.uint32), *look)
        return counts

    def _histograms(
        self, tensors: ParentTensors, values: Sequence[BlockFunction], shift: int, width: int, wanted: Prefixes
    ) -> dict[tuple[int, int], np.ndarray]:
        """Histograms of the next bits for each wanted (index of values, prefix); one row per block in the last pass."""

        def count(block: Block) -> np.ndarray:
            return np.stack([self.count_bits(block, values[k], shift, width, prefix) for k, prefix in wanted])

        parts = np.stack(tensors.map(count), axis=1)
        return dict(zip(wanted, parts if shift == 0 else parts.sum(axis=1, keepdims=True), strict=True))

    def rank_masks(self, tensors: ParentTensors, seeds: Sequence[int], density: float, epsilon: float) -> list[Any]:
        """See `Ops`: one bit per element."""
        by_rank = rank_probabilities(tensors.row, density, epsilon).numpy()
        packed = [np.empty(-(-tensors.numel // 8), np.uint8) for _ in seeds]

        def draw(block: Block) -> None:
            mask = self.array("mask", (block.stop - block.start,), np.uint8)
            for index, seed in enumerate(seeds):
                parents = _stored(block, 0), _stored(block, index + 1)
                rank_kernels.mask_deltas(*parents, by_rank, np.uint64(seed), block.start, mask)
                packed[index][block.start // 8 : -(-block.stop // 8)] = np.packbits(mask, bitorder="little")

        tensors.map_rows(draw)
        return packed

    def block_mergers(self, points: Sequence[PointMerge]) -> list[BlockMerger]:
        """See `Ops`: points that combine the same parts are merged together."""
        groups: dict[Any, list[PointMerge]] = {}
        for point in points:
            groups.setdefault(_group(point), []).append(point)
        return [self._merger(group) for group in groups.values()]

    def _merger(self, group: Sequence[PointMerge]) -> BlockMerger:
        if isinstance(group[0].merge, (Combination, Mean)):
            return GroupMerger(group, self)
        return PointMerger(group[0], self)


class GroupMerger:
    """Merge the blocks of all points that combine the same parts in the same way.

    Args:
        points: All `Combination` or all `Mean`.
        ops: Provides the buffers.
    """

    def __init__(self, points: Sequence[PointMerge], ops: NumbaOps) -> None:
        self._points = points
        self._merges: list[Any] = [point.merge for point in points]
        self._ops = ops
        self._coefficients = np.array([merge.coefficients for merge in self._merges], np.float32)
        self._normalize = np.array([merge.normalize for merge in self._merges])
        self._totals = np.array(
            [total_coefficient(m.coefficients) if m.normalize else 1.0 for m in self._merges], np.float32
        )
        self._factors = np.array([point.factor for point in points], np.float32)
        lambdas = np.array([getattr(merge, "lambda_", 1.0) for merge in self._merges], np.float32)
        self._both_factors = np.stack([lambdas, self._factors], axis=1)

    def __call__(self, block: Block) -> Iterator[BlockResult]:
        """See `BlockMerger`."""
        size, count = block.stop - block.start, len(self._points)
        # points of one grid have one dtype: bfloat16 is rounded here, where the values are in the cache
        rounds = all(point.output_dtype is torch.bfloat16 for point in self._points)
        out = self._ops.array(("out", rounds), (count, size), np.uint16 if rounds else np.float32)
        sums = self._ops.array("sums", (count, -(-size // UNIT)), np.float64)
        largest = np.zeros(count, np.uint32)
        self._merge(block, out, sums, largest)
        values = torch.from_numpy(out).view(torch.bfloat16) if rounds else torch.from_numpy(out)
        found = zip(self._points, values, sums.tolist(), largest.view(np.float32).tolist(), strict=True)
        for point, row, squares, magnitude in found:
            yield BlockResult(point.index, row, squares, magnitude)

    def _merge(self, block: Block, out: np.ndarray, sums: np.ndarray, largest: np.ndarray) -> None:
        merge = self._merges[0]
        base = block.base.numpy()
        if isinstance(merge, Mean):
            values = tuple(block.specialist(k).numpy() for k in range(len(merge.coefficients)))
            kernels.mean(values, base, self._coefficients, self._totals, self._factors, out, sums, largest)
            return
        parts = tuple(part(block).numpy() for part in merge.parts)
        kernels.combine(
            parts,
            base,
            self._coefficients,
            self._both_factors,
            merge.consensus,
            self._normalize,
            self._totals,
            out,
            sums,
            largest,
        )


def _stored(block: Block, parent: int) -> np.ndarray:
    """A parent's values in the form that the kernels read: float32, or bfloat16 as uint16; others are upcast."""
    stored = block.stored(parent)
    if stored.dtype is torch.bfloat16:
        return stored.view(torch.uint16).numpy()
    return (block.base if parent == 0 else block.specialist(parent - 1)).numpy()


def _group(point: PointMerge) -> Any:
    merge = point.merge
    if isinstance(merge, Combination):
        return "combination", tuple(id(part) for part in merge.parts), merge.consensus
    return "mean" if isinstance(merge, Mean) else point.index
