"""Both passes over one tensor of the base and K variants, block by block on all threads.

Shapes: K variants, C elements of a block.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import fsum, prod
from typing import Any, TypeVar

import numpy as np
import torch

from src.diagnostics.block_sums import BUCKETS, BlockSums, Counts, FirstPass
from src.diagnostics.running_sums import CoMoments, Doubles
from src.merging.tensors.parent import Parent

T = TypeVar("T")
INLINE = 1 << 15  # elements; handing a smaller tensor to another thread takes longer than working on it
EXACT_IN_FLOAT32 = {torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2}


@dataclass(frozen=True)
class TensorSums:
    """What is known of one tensor.

    Args:
        elements: Their number.
        squares_K: Sums of the squared updates.
        base_square: Sum of the squared base.
        moments: Of all families of `running_sums`, in order; None for a tensor that is not a weight.
    """

    elements: int
    squares_K: Doubles
    base_square: float
    moments: CoMoments | None


class Blocks:
    """Reads blocks of one tensor after another into memory that each thread reuses.

    Args:
        base: Parent that all variants started from.
        variants: K parents.
        block: C.
        pool: Threads that work on blocks.
    """

    def __init__(self, base: Parent, variants: Sequence[Parent], block: int, pool: ThreadPoolExecutor) -> None:
        self.parents, self._block, self._pool = [base, *variants], block, pool
        self._local = threading.local()
        self._computed: Mapping[int, torch.Tensor] = {}

    def open(self, name: str) -> None:
        """Choose the tensor; computed ones are computed once."""
        self.name, self.elements = name, prod(self.parents[0].table[name].shape)
        self._computed = {
            index: parent.tensor(name).reshape(-1)
            for index, parent in enumerate(self.parents)
            if name in parent.computed
        }
        self._dtype = _common_dtype({parent.table[name].dtype for parent in self.parents})

    def map(self, work: Callable[[torch.Tensor], T]) -> list[T]:
        """Apply `work` to the stored values (K + 1, C) of every block; results in order."""

        def at(start: int) -> T:
            return work(self._read(start, min(start + self._block, self.elements)))

        starts = range(0, self.elements, self._block)
        return list(map(at, starts) if self.elements <= INLINE else self._pool.map(at, starts))

    def _read(self, start: int, stop: int) -> torch.Tensor:
        rows = self._memory(stop - start)
        for index, (parent, row) in enumerate(zip(self.parents, rows, strict=True)):
            if index in self._computed:
                row.copy_(self._computed[index][start:stop])
            elif parent.table[self.name].dtype is self._dtype:
                parent.read_into(self.name, start, row)
            else:
                row.copy_(parent.flat(self.name, start, stop))
        return rows

    def _memory(self, size: int) -> torch.Tensor:
        held: dict[Any, torch.Tensor] = self._local.__dict__
        wanted = len(self.parents) * size
        if self._dtype not in held or held[self._dtype].numel() < wanted:
            held[self._dtype] = torch.empty(wanted, dtype=self._dtype)
        return held[self._dtype][:wanted].view(len(self.parents), size)


def _common_dtype(dtypes: set[torch.dtype]) -> torch.dtype:
    """A dtype that holds the values of all others exactly, and that the kernels take."""
    if dtypes == {torch.bfloat16}:
        return torch.bfloat16
    return torch.float32 if dtypes <= EXACT_IN_FLOAT32 else torch.float64


def tensor_sums(blocks: Blocks, ops: BlockSums, thresholds: Sequence[float], top: float, is_weight: bool) -> TensorSums:
    """Sums over the open tensor of `blocks`.

    Args:
        blocks: The tensor.
        ops: The arithmetic.
        thresholds: Shares, 0-1, of the largest magnitude.
        top: Share, 0-1, of the elements that count as the largest.
        is_weight: Whether all families are needed, or only the squares.
    """
    variants, histograms = len(blocks.parents) - 1, _Histograms(len(blocks.parents) - 1)
    parts = blocks.map(lambda stored: histograms.counted(stored, ops))
    if not parts:
        return TensorSums(0, np.zeros(variants), 0.0, None)
    moments = CoMoments.joined([part.moments for part in parts])
    squares_K = np.einsum("kk->k", moments.product_FKK[0]).copy()
    base_square = fsum(part.base_square for part in parts)
    if not is_weight:
        return TensorSums(blocks.elements, squares_K, base_square, None)
    peak_K = np.stack([part.peak_K for part in parts]).max(axis=0)
    cut_TK, top_K = np.outer(thresholds, peak_K), _lowest_top(histograms.total(), top)
    others = CoMoments.joined(blocks.map(lambda stored: ops.second(stored, cut_TK, top_K)))
    moments.mean_FK = np.concatenate([moments.mean_FK, others.mean_FK])
    moments.comoment_FKK = np.concatenate([moments.comoment_FKK, others.comoment_FKK])
    return TensorSums(blocks.elements, squares_K, base_square, moments)


class _Histograms:
    """One histogram per thread at work, not per block."""

    def __init__(self, variants: int) -> None:
        self._shape, self._all, self._free = (variants, BUCKETS), list[Counts](), list[Counts]()

    def counted(self, stored: torch.Tensor, ops: BlockSums) -> FirstPass:
        try:
            counts = self._free.pop()
        except IndexError:
            counts = np.zeros(self._shape, np.int64)
            self._all.append(counts)
        found = ops.first(stored, counts)
        self._free.append(counts)
        return found

    def total(self) -> Counts:
        return sum(self._all[1:], self._all[0])


def _lowest_top(counts_KB: Counts, share: float) -> Counts:
    """Lowest bucket of at least `share` of the elements, counted from the largest magnitude down."""
    wanted = max(1, round(share * int(counts_KB[0].sum())))
    from_above = counts_KB[:, ::-1].cumsum(axis=1)
    found: Counts = BUCKETS - 1 - (from_above >= wanted).argmax(axis=1)
    return found
