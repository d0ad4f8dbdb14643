"""The sums of block_sums.py, compiled with numba: all families of a block in one loop over its stored bytes.

Sums are reassociated, so that the compiler can use vector units: equal to the reference up to rounding in float64.

Legend: K variants, T thresholds, U elements that are held in the closest cache at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numba
import numpy as np
import torch
from numba import types
from numba.extending import overload
from numpy.typing import NDArray

from src.diagnostics.block_sums import Counts, FirstPass
from src.diagnostics.running_sums import CoMoments, Doubles

UNIT = 1024
MAGNITUDE = np.uint32(0x7FFFFFFF)
MAGNITUDE_64 = np.int64(0x7FFFFFFFFFFFFFFF)
HALF = np.uint32(16)


class NumbaBlockSums:
    """Compiled loops, which release the GIL."""

    block = 1 << 18

    def first(self, stored: torch.Tensor, counts: Counts) -> FirstPass:
        """See `BlockSums`."""
        moments, peak_K = CoMoments(3, len(stored) - 1), np.zeros(len(stored) - 1, np.int64)
        moments.count = stored.shape[1]
        base = _first(_array(stored), moments.mean_FK, moments.comoment_FKK, peak_K, counts)
        return FirstPass(moments, peak_K.view(np.float64), float(base))

    def second(self, stored: torch.Tensor, cut_TK: Doubles, top_K: Counts) -> CoMoments:
        """See `BlockSums`."""
        moments = CoMoments(len(cut_TK) + 1, len(stored) - 1)
        moments.count = stored.shape[1]
        _second(_array(stored), cut_TK, top_K, moments.mean_FK, moments.comoment_FKK)
        return moments


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile on first call, cache on disk, release the GIL; NaN and Inf keep their meaning."""
    fast = {"reassoc", "contract", "nsz"}
    return cast(Callable[..., Any], numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=fast)(function))


def _array(stored: torch.Tensor) -> NDArray[Any]:
    found: NDArray[Any] = (stored.view(torch.uint16) if stored.dtype is torch.bfloat16 else stored).numpy()
    return found


def _upcast(stored: Any, out: Doubles, bits: Any) -> None:
    """out = stored, in float64."""
    raise NotImplementedError("compiled code calls the overload below")


@overload(_upcast, strict=False)
def _upcast_compiled(stored: Any, out: Any, bits: Any) -> Callable[[Any, Doubles, Any], None]:
    if stored.dtype == types.uint16:

        def upcast(stored: Any, out: Doubles, bits: Any) -> None:
            for i in range(stored.size):
                bits[i] = np.uint32(stored[i]) << HALF
            values = bits.view(np.float32)
            for i in range(stored.size):
                out[i] = values[i]
    else:

        def upcast(stored: Any, out: Doubles, bits: Any) -> None:
            for i in range(stored.size):
                out[i] = stored[i]

    return upcast


@compiled
def _first(stored: Any, mean: Doubles, comoment: Doubles, peak: Counts, counts: Counts) -> float:
    """Moments of three families; mean (3, K), comoment (3, K, K), peak (K,) bits, counts (K, buckets)."""
    variants, elements = stored.shape[0] - 1, stored.shape[1]
    base, bits = np.empty(UNIT), np.empty(UNIT, np.uint32)
    delta, series = np.empty((variants, UNIT)), np.empty((variants, UNIT))
    square = 0.0
    for first in range(0, elements, UNIT):
        size = min(UNIT, elements - first)
        _load(stored, first, size, base, delta, bits)
        square += _dot(base[:size], base[:size])
        for k in range(variants):
            peak[k] = max(peak[k], _peak(delta[k, :size].view(np.int64)))
            _narrow(delta[k, :size], bits.view(np.float32))
            _count(bits[:size], counts[k])
            _sign(delta[k, :size], series[k])
        _join(series, size, first, mean[1], comoment[1])
        for k in range(variants):
            _nonzero(delta[k, :size], series[k])
        _join(series, size, first, mean[2], comoment[2])
        _join(delta, size, first, mean[0], comoment[0])
    return square


@compiled
def _second(stored: Any, cut: Doubles, top: Counts, mean: Doubles, comoment: Doubles) -> None:
    """Moments of T + 1 families; cut (T, K), top (K,)."""
    variants, elements = stored.shape[0] - 1, stored.shape[1]
    base, bits = np.empty(UNIT), np.empty(UNIT, np.uint32)
    delta, series = np.empty((variants, UNIT)), np.empty((variants, UNIT))
    for first in range(0, elements, UNIT):
        size = min(UNIT, elements - first)
        _load(stored, first, size, base, delta, bits)
        for t in range(cut.shape[0]):
            for k in range(variants):
                _keep(delta[k, :size], cut[t, k], series[k])
            _join(series, size, first, mean[t], comoment[t])
        for k in range(variants):
            _narrow(delta[k, :size], bits.view(np.float32))
            _mark(bits[:size], np.uint32(top[k]) << HALF, series[k])
        _join(series, size, first, mean[-1], comoment[-1])


@compiled
def _load(stored: Any, first: int, size: int, base: Doubles, delta: Doubles, bits: Any) -> None:
    _upcast(stored[0, first : first + size], base, bits)
    for k in range(delta.shape[0]):
        _upcast(stored[k + 1, first : first + size], delta[k], bits)
        _subtract(delta[k, :size], base)


@compiled
def _join(series: Doubles, size: int, before: int, mean: Doubles, comoment: Doubles) -> None:
    """Center `size` elements in place and add them to the moments of the `before` elements already seen."""
    total = np.float64(before + size)
    weight = before * size / total
    step = np.empty(mean.size)
    for k in range(mean.size):
        own = _sum(series[k, :size]) / size
        _shift(series[k, :size], own)
        step[k] = own - mean[k]
        mean[k] += step[k] * (size / total)
    for i in range(mean.size):
        for j in range(i + 1):
            comoment[i, j] += _dot(series[i, :size], series[j, :size]) + weight * step[i] * step[j]
            comoment[j, i] = comoment[i, j]


@compiled
def _sum(values: Doubles) -> float:
    total = 0.0
    for i in range(values.size):
        total += values[i]
    return total


@compiled
def _dot(left: Doubles, right: Doubles) -> float:
    total = 0.0
    for i in range(left.size):
        total += left[i] * right[i]
    return total


@compiled
def _shift(values: Doubles, by: float) -> None:
    for i in range(values.size):
        values[i] -= by


@compiled
def _subtract(values: Doubles, other: Doubles) -> None:
    for i in range(values.size):
        values[i] -= other[i]


@compiled
def _peak(bits: Any) -> Any:
    """Largest magnitude as its bit pattern, which orders like the numbers; that of a NaN is above all."""
    largest = np.int64(0)
    for i in range(bits.size):
        largest = max(largest, bits[i] & MAGNITUDE_64)
    return largest


@compiled
def _narrow(values: Doubles, out: Any) -> None:
    for i in range(values.size):
        out[i] = np.float32(values[i])


@compiled
def _count(bits: Any, counts: Counts) -> None:
    for i in range(bits.size):
        counts[(bits[i] & MAGNITUDE) >> HALF] += 1


@compiled
def _sign(values: Doubles, out: Doubles) -> None:
    for i in range(values.size):
        out[i] = (1.0 if values[i] > 0.0 else 0.0) - (1.0 if values[i] < 0.0 else 0.0)


@compiled
def _nonzero(values: Doubles, out: Doubles) -> None:
    for i in range(values.size):
        out[i] = 1.0 if values[i] != 0.0 else 0.0


@compiled
def _keep(values: Doubles, cut: float, out: Doubles) -> None:
    for i in range(values.size):
        out[i] = values[i] if abs(values[i]) >= cut else 0.0


@compiled
def _mark(bits: Any, lowest: int, out: Doubles) -> None:
    for i in range(bits.size):
        magnitude = bits[i] & MAGNITUDE
        out[i] = 1.0 if magnitude >= lowest and magnitude > np.uint32(0) else 0.0
