"""The arithmetic of ops.py compiled with numba, for CPU tensors; equal to it to the last bit."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from src.merging import kernels, rank_kernels
from src.merging.combine import total_weight
from src.merging.emit import Emission, Emitter, PlainEmitter
from src.merging.fold import UNIT
from src.merging.ops import Values
from src.merging.parents import Block, Stack
from src.merging.point_run import PointRun
from src.merging.ranks import rank_probabilities
from src.merging.rule import BlockMerge
from src.merging.task_vectors import Combination, Mean

LEVELS = ((20, 11), (10, 10), (0, 10))  # shift and number of the bits that each pass of a selection looks at


class FusedOps:
    """Numba kernels on blocks in memory that each thread reuses."""

    block = 1 << 18  # a thread's buffers take some 20 MB; smaller ones fit a nearer cache, but Python's share grows

    def __init__(self) -> None:
        self._local = threading.local()

    def buffer(self, key: Any, size: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """See `Ops`."""
        raw = self.array((key, dtype), (size * dtype.itemsize,), np.uint8)
        return torch.from_numpy(raw).view(dtype)

    def widen(self, stored: torch.Tensor, out: torch.Tensor) -> None:
        """See `Ops`."""
        if stored.dtype is torch.bfloat16:
            kernels.widen_bfloat16(stored.view(torch.uint16).numpy(), out.numpy().view(np.uint32))
        else:
            out.copy_(stored)

    def subtract(self, left: torch.Tensor, right: torch.Tensor, out: torch.Tensor) -> None:
        """See `Ops`."""
        kernels.subtract(left.numpy(), right.numpy(), out.numpy())

    def array(self, key: Any, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """This thread's array under `key`; its contents last until the key is asked for again."""
        held: dict[Any, np.ndarray] = self._local.__dict__
        size = int(np.prod(shape))
        if key not in held or held[key].size < size or held[key].dtype != dtype:
            held[key] = np.empty(size, dtype)
        return held[key][:size].reshape(shape)

    def fold(self, values: torch.Tensor, power: int) -> list[float]:
        """See `Ops`."""
        sums = np.empty(-(-values.numel() // UNIT))
        kernels.fold(values.numpy(), power, self.array("fold", (UNIT,), np.float64), sums)
        found: list[float] = sums.tolist()
        return found

    def keep_between(self, delta: torch.Tensor, low: float, high: float, scale: float, out: torch.Tensor) -> None:
        """See `Ops`."""
        kernels.keep_between(delta.numpy(), np.float32(low), np.float32(high), np.float32(scale), out.numpy())

    def keep_drawn(
        self, delta: torch.Tensor, seed: int, start: int, density: float, scale: float, out: torch.Tensor
    ) -> None:
        """See `Ops`."""
        limit = np.float32(density)
        kernels.keep_drawn(delta.numpy(), np.uint64(seed), start, limit, np.float32(scale), out.numpy())

    def keep_masked(self, delta: torch.Tensor, mask: Any, start: int, scale: float, out: torch.Tensor) -> None:
        """See `Ops`."""
        kernels.keep_masked(delta.numpy(), mask[start // 8 :], np.float32(scale), out.numpy())

    def order_statistics(self, stack: Stack, key: Any, values: Values, positions: Sequence[int]) -> list[float]:
        """See `Ops`: three passes that each narrow the place of a position down to one bucket of a histogram."""
        return [self._select(stack, key, values, position) for position in positions]

    def _select(self, stack: Stack, key: Any, values: Values, position: int) -> float:
        prefix = 0
        for shift, width in LEVELS:
            make = partial(self._histogram, stack, values, shift, width, prefix)
            counts = stack.once(("histogram", key, shift, prefix), make)
            upto = np.cumsum(counts)
            bucket = int(np.searchsorted(upto, position, side="right"))
            position -= int(upto[bucket] - counts[bucket])
            prefix = (prefix << width) | bucket
        return float(np.array(prefix, np.uint32).view(np.float32))

    def _histogram(self, stack: Stack, values: Values, shift: int, width: int, prefix: int) -> np.ndarray:
        def count(block: Block) -> np.ndarray:
            counts = np.zeros(1 << width, np.int64)
            bits = values(block).numpy().view(np.uint32)
            rank_kernels.count_bits(bits, np.uint32(shift), np.uint32(prefix), np.uint32(shift + width), counts)
            return counts

        return np.sum(stack.map(count), axis=0)

    def rank_mask(self, stack: Stack, index: int, seed: int, density: float, epsilon: float) -> Any:
        """See `Ops`: one bit an element."""
        by_rank = rank_probabilities(stack.row, density, epsilon).numpy()
        packed = np.empty(-(-stack.numel // 8), np.uint8)

        def draw(block: Block) -> None:
            mask = self.array("mask", (block.stop - block.start,), np.uint8)
            bits = block.delta(index).numpy().view(np.uint32)
            rank_kernels.rank_masks(bits, by_rank, np.uint64(seed), block.start, mask)
            packed[block.start // 8 : -(-block.stop // 8)] = np.packbits(mask, bitorder="little")

        stack.map_rows(draw)
        return packed

    def emitters(
        self, name: str, merges: Mapping[PointRun, BlockMerge], factors: Mapping[PointRun, float]
    ) -> list[Emitter]:
        """See `Ops`: points that combine the same parts are emitted together."""
        groups: dict[Any, dict[PointRun, Any]] = {}
        for run, merge in merges.items():
            groups.setdefault(_group(run, merge), {})[run] = merge
        return [self._emitter(name, group, factors) for group in groups.values()]

    def _emitter(self, name: str, group: dict[PointRun, Any], factors: Mapping[PointRun, float]) -> Emitter:
        first, merge = next(iter(group.items()))
        if isinstance(merge, (Combination, Mean)):
            return FusedEmitter(name, group, [factors.get(run, 1.0) for run in group], self)
        return PlainEmitter(first, merge, factors.get(first, 1.0), self)


class FusedEmitter:
    """All points that combine the same parts in the same way.

    Args:
        name: Tensor name.
        group: Points and what they do, all `Combination` or all `Mean`.
        factors: Norm-matching factor of each.
        ops: Provides memory.
    """

    def __init__(self, name: str, group: Mapping[PointRun, Any], factors: Sequence[float], ops: FusedOps) -> None:
        self._name = name
        self._runs = list(group)
        self._merges = list(group.values())
        self._ops = ops
        self._weights = np.array([merge.weights for merge in self._merges], np.float32)
        self._normalize = np.array([merge.normalize for merge in self._merges])
        self._totals = np.array([total_weight(m.weights) if m.normalize else 1.0 for m in self._merges], np.float32)
        self._factors = np.array(factors, np.float32)

    def __call__(self, block: Block) -> Iterator[Emission]:
        """See `Emitter`."""
        size = block.stop - block.start
        out = self._ops.array("out", (len(self._runs), size), np.float32)
        sums = self._ops.array("sums", (len(self._runs), -(-size // UNIT)), np.float64)
        self._merge(block, out, sums)
        for run, values, squares in zip(self._runs, out, sums, strict=True):
            yield run, self._cast(run, values), squares.tolist()

    def _merge(self, block: Block, out: np.ndarray, sums: np.ndarray) -> None:
        merge = self._merges[0]
        base = block.base.numpy()
        if isinstance(merge, Mean):
            values = self._stack([block.specialist(k) for k in range(len(merge.weights))])
            kernels.mean(values, base, self._weights, self._totals, self._factors, out, sums)
            return
        parts = self._stack([part(block) for part in merge.parts])
        lambdas = np.array([one.lambda_ for one in self._merges], np.float32)
        factors = np.stack([lambdas, self._factors], axis=1)
        kernels.combine(parts, base, self._weights, factors, merge.consensus, self._normalize, self._totals, out, sums)

    def _stack(self, parts: Sequence[torch.Tensor]) -> np.ndarray:
        stacked = self._ops.array("parts", (len(parts), parts[0].numel()), np.float32)
        for row, part in zip(stacked, parts, strict=True):
            row[:] = part.numpy()
        return stacked

    def _cast(self, run: PointRun, values: np.ndarray) -> torch.Tensor:
        if run.output_dtype(self._name) is not torch.bfloat16:
            return torch.from_numpy(values)
        rounded = self._ops.array("rounded", values.shape, np.uint16)
        kernels.round_bfloat16(values.view(np.uint32), rounded)
        return torch.from_numpy(rounded).view(torch.bfloat16)


def _group(run: PointRun, merge: BlockMerge) -> Any:
    if isinstance(merge, Combination):
        return "combination", tuple(id(part) for part in merge.parts), merge.consensus
    return "mean" if isinstance(merge, Mean) else run
