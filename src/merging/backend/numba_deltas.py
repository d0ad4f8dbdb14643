"""Compiled loops over task vectors that are never written down: parents are read as stored, a few rows at a time.

A block's float32 values would not fit the nearest caches, and reading them back costs more than computing them again.

Legend: n elements, U = 4,096 elements that one partial sum covers. A parent is (n,) float32, or uint16 that
holds bfloat16.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload
from numpy.typing import NDArray

from src.merging.backend.numba_kernels import Floats, compiled, fold, subtract, widen_bfloat16
from src.merging.backend.numba_ranks import count_bits, rank_masks
from src.merging.tensors.reductions import UNIT

Stored = NDArray[Any]
TOGETHER = 1 << 13  # elements of the rows that are looked at together


def _widen(stored: Stored, out: Floats) -> None:
    """out = stored, in float32."""
    raise NotImplementedError("compiled code calls the overload below")


@overload(_widen, strict=False)
def _widen_compiled(stored: Any, out: Any) -> Callable[[Stored, Floats], None]:
    if stored.dtype == types.uint16:

        def widen(stored: Stored, out: Floats) -> None:
            widen_bfloat16(stored, out.view(np.uint32))
    else:

        def widen(stored: Stored, out: Floats) -> None:
            out[:] = stored

    return widen


@compiled
def _delta(base: Stored, specialist: Stored, scratch: Floats) -> Floats:
    """specialist - base (m,), in float32, in the last third of scratch (3, at least m)."""
    size = base.size
    # three different rows: with operands that overlap the compiler would not vectorize
    _widen(specialist, scratch[0, :size])
    _widen(base, scratch[1, :size])
    subtract(scratch[0, :size], scratch[1, :size], scratch[2, :size])
    return scratch[2, :size]


@compiled
def survey(base: Stored, specialist: Stored, absolute: NDArray[np.float64], squares: NDArray[np.float64]) -> None:
    """Partial sums (U,) of |D| and D^2, added as `fold` adds."""
    scratch, sums = np.empty((3, UNIT), np.float32), np.empty(UNIT, np.float64)
    for unit in range(absolute.size):
        here = slice(unit * UNIT, min((unit + 1) * UNIT, base.size))
        delta = _delta(base[here], specialist[here], scratch)
        fold(delta, 1, sums, absolute[unit : unit + 1])
        fold(delta, 2, sums, squares[unit : unit + 1])


@compiled
def count_deltas(
    base: Stored, specialist: Stored, shift: int, prefix: int, prefix_shift: int, counts: NDArray[np.int64]
) -> None:
    """`count_bits` of the task vector."""
    scratch = np.empty((3, TOGETHER), np.float32)
    for first in range(0, base.size, TOGETHER):
        here = slice(first, min(first + TOGETHER, base.size))
        count_bits(_delta(base[here], specialist[here], scratch).view(np.uint32), shift, prefix, prefix_shift, counts)


@compiled
def mask_deltas(
    base: Stored, specialist: Stored, by_rank: Floats, seed: int, start: int, mask: NDArray[np.uint8]
) -> None:
    """`rank_masks` of the task vector, whole rows of by_rank.size elements."""
    step = max(TOGETHER // by_rank.size, 1) * by_rank.size
    scratch = np.empty((3, step), np.float32)
    for first in range(0, base.size, step):
        here = slice(first, min(first + step, base.size))
        delta = _delta(base[here], specialist[here], scratch)
        rank_masks(delta.view(np.uint32), by_rank, seed, start + first, mask[here])
