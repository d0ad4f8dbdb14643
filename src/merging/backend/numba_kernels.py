"""Compiled loops over float32 blocks, bitwise equal to torch_ops.py and combine.py.

No fast-math: every product and sum is rounded as in torch.

Legend: n elements, K specialists, P points, U = 4,096 elements that one partial sum covers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numba
import numpy as np
from numpy.typing import NDArray

from src.merging.backend.counter_rng import GOLDEN, MIX_1, MIX_2
from src.merging.tensors.reductions import UNIT

Floats = NDArray[np.float32]
Bits = NDArray[np.uint32]

EIGHTH = UNIT // 8  # the first three halvings of a whole unit are done in one loop
ZERO, ONE = np.float32(0), np.float32(1)
STEP, MULTIPLY_1, MULTIPLY_2 = np.uint64(GOLDEN), np.uint64(MIX_1), np.uint64(MIX_2)
S27, S30, S31, S40 = (np.uint64(bits) for bits in (27, 30, 31, 40))
TO_UNIT = np.float32(2.0**-24)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile on first call, cache on disk, release the GIL."""
    return cast(Callable[..., Any], numba.njit(nogil=True, cache=True, error_model="numpy")(function))


@compiled
def _size(part: Floats, i: int, eighth: int) -> float:
    return abs(np.float64(part[i + eighth * EIGHTH]))


@compiled
def _square(part: Floats, i: int, eighth: int) -> float:
    return np.float64(part[i + eighth * EIGHTH]) * np.float64(part[i + eighth * EIGHTH])


@compiled
def deterministic_sums(values: Floats, power: int, scratch: NDArray[np.float64], sums: NDArray[np.float64]) -> None:
    """sums[u] = sum of |x| (power 1) or x^2 (power 2) over unit u, added as a tree of halves; scratch (U,)."""
    for unit in range(sums.size):
        part = values[unit * UNIT : (unit + 1) * UNIT]
        if part.size == UNIT and power == 2:
            for i in range(EIGHTH):
                scratch[i] = (
                    (_square(part, i, 0) + _square(part, i, 4)) + (_square(part, i, 2) + _square(part, i, 6))
                ) + ((_square(part, i, 1) + _square(part, i, 5)) + (_square(part, i, 3) + _square(part, i, 7)))
            half = EIGHTH // 2
        elif part.size == UNIT:
            for i in range(EIGHTH):
                scratch[i] = ((_size(part, i, 0) + _size(part, i, 4)) + (_size(part, i, 2) + _size(part, i, 6))) + (
                    (_size(part, i, 1) + _size(part, i, 5)) + (_size(part, i, 3) + _size(part, i, 7))
                )
            half = EIGHTH // 2
        else:
            for i in range(part.size):
                scratch[i] = _square(part, i, 0) if power == 2 else _size(part, i, 0)
            scratch[part.size :] = 0.0
            half = UNIT // 2
        while half > 0:
            for i in range(half):
                scratch[i] += scratch[i + half]
            half //= 2
        sums[unit] = scratch[0]


@compiled
def keep_between(delta: Floats, low: float, high: float, scale: float, out: Floats) -> int:
    """out = delta * [low <= |delta| <= high] * scale; returns the number of kept elements that are not 0."""
    count = 0
    for i in range(delta.size):
        size = abs(delta[i])
        kept = delta[i] * (ONE if low <= size <= high else ZERO)
        count += kept != ZERO
        out[i] = kept * scale
    return count


@compiled
def uniform(seed: int, start: int, out: Floats) -> None:
    """out = elements start, start + 1, ... of the stream: SplitMix64, the upper 24 bits."""
    for i in range(out.size):
        state = seed + np.uint64(start + i + 1) * STEP
        state = (state ^ (state >> S30)) * MULTIPLY_1
        state = (state ^ (state >> S27)) * MULTIPLY_2
        state = state ^ (state >> S31)
        out[i] = np.float32(np.int64(state >> S40)) * TO_UNIT


@compiled
def keep_drawn(delta: Floats, seed: int, start: int, density: float, scale: float, out: Floats) -> int:
    """out = delta * [draw < density] * scale; returns as `keep_between`."""
    uniform(seed, start, out)
    count = 0
    for i in range(delta.size):
        kept = delta[i] * (ONE if out[i] < density else ZERO)
        count += kept != ZERO
        out[i] = kept * scale
    return count


@compiled
def keep_masked(delta: Floats, bits: NDArray[np.uint8], scale: float, out: Floats) -> int:
    """out = delta * bit * scale; bit i is bit i % 8 of byte i // 8; returns as `keep_between`."""
    count = 0
    for i in range(delta.size):
        bit = (bits[i >> 3] >> np.uint8(i & 7)) & np.uint8(1)
        kept = delta[i] * np.float32(bit)
        count += kept != ZERO
        out[i] = kept * scale
    return count


@compiled
def combine(
    parts: Floats, base: Floats, coefficients: Floats, factors: Floats, consensus: bool, normalize: Any, totals: Floats,
    out: Floats, sums: NDArray[np.float64],
) -> None:  # fmt: skip
    """Combine the same parts for all points, unit by unit, so that a unit's values stay in the cache.

    parts (K, n), base (n,), coefficients (P, K), factors (P, 2: lambda, norm matching), normalize (P,), totals (P,:
    divisor of a plain sum), out (P, n) merged weights, sums (P, n / U) of squared merged deltas.
    """
    mixed, divisor, signs = np.zeros(UNIT, np.float32), np.zeros(UNIT, np.float32), np.zeros(UNIT, np.float32)
    scratch = np.empty(UNIT, np.float64)
    for first in range(0, base.size, UNIT):
        unit = slice(first, min(first + UNIT, base.size))
        for p in range(coefficients.shape[0]):
            _scale(parts[0, unit], coefficients[p, 0], mixed)
            for k in range(1, parts.shape[0]):
                _add_scaled(parts[k, unit], coefficients[p, k], mixed)
            if consensus:
                _elect(mixed, signs)
                for k in range(parts.shape[0]):
                    _vote(parts[k, unit], coefficients[p, k], signs, mixed, divisor, k == 0)
                if normalize[p]:
                    _divide(mixed, divisor)
            elif normalize[p]:
                _divide_all(mixed, totals[p])
            _finish(mixed, factors[p, 0], factors[p, 1], base[unit], out[p, unit])
            mixed[unit.stop - unit.start :] = ZERO
            deterministic_sums(mixed, 2, scratch, sums[p, first // UNIT : first // UNIT + 1])


@compiled
def _scale(part: Floats, coefficient: float, mixed: Floats) -> None:
    for i in range(part.size):
        mixed[i] = part[i] * coefficient


@compiled
def _add_scaled(part: Floats, coefficient: float, mixed: Floats) -> None:
    for i in range(part.size):
        mixed[i] += part[i] * coefficient


@compiled
def _elect(mixed: Floats, signs: Floats) -> None:
    for i in range(mixed.size):
        signs[i] = ONE if mixed[i] >= ZERO else -ONE


@compiled
def _vote(part: Floats, coefficient: float, signs: Floats, mixed: Floats, divisor: Floats, is_first: bool) -> None:
    if is_first:
        for i in range(part.size):
            scaled = part[i] * coefficient
            agrees = ONE if scaled * signs[i] > ZERO else ZERO
            mixed[i] = scaled * agrees
            divisor[i] = coefficient * agrees
    else:
        for i in range(part.size):
            scaled = part[i] * coefficient
            agrees = ONE if scaled * signs[i] > ZERO else ZERO
            mixed[i] += scaled * agrees
            divisor[i] += coefficient * agrees


@compiled
def _divide(mixed: Floats, divisor: Floats) -> None:
    for i in range(mixed.size):
        mixed[i] = mixed[i] / (ONE if divisor[i] == ZERO else divisor[i])


@compiled
def _divide_all(mixed: Floats, divisor: float) -> None:
    for i in range(mixed.size):
        mixed[i] = mixed[i] / divisor


@compiled
def _finish(mixed: Floats, lambda_: float, factor: float, base: Floats, out: Floats) -> None:
    for i in range(base.size):
        delta = (mixed[i] * lambda_) * factor
        mixed[i] = delta
        out[i] = base[i] + delta


@compiled
def mean(
    values: Floats, base: Floats, coefficients: Floats, totals: Floats, factors: Floats,
    out: Floats, sums: NDArray[np.float64],
) -> None:  # fmt: skip
    """Weighted means of all points; shapes as in `combine`, totals (P,: divisor), factors (P,: norm matching)."""
    total, delta = np.zeros(UNIT, np.float32), np.zeros(UNIT, np.float32)
    scratch = np.empty(UNIT, np.float64)
    for first in range(0, base.size, UNIT):
        unit = slice(first, min(first + UNIT, base.size))
        for p in range(coefficients.shape[0]):
            total[:] = ZERO
            for k in range(values.shape[0]):
                _fused_add(values[k, unit], np.float64(coefficients[p, k]), total)
            _finish_mean(total, totals[p], factors[p], base[unit], delta, out[p, unit])
            delta[unit.stop - unit.start :] = ZERO
            deterministic_sums(delta, 2, scratch, sums[p, first // UNIT : first // UNIT + 1])


@compiled
def _fused_add(values: Floats, coefficient: float, total: Floats) -> None:
    for i in range(values.size):  # the product is exact in float64, so this rounds once: a fused multiply-add
        total[i] = np.float32(np.float64(total[i]) + np.float64(values[i]) * coefficient)


@compiled
def _finish_mean(total: Floats, divisor: float, factor: float, base: Floats, delta: Floats, out: Floats) -> None:
    for i in range(base.size):
        merged = total[i] / divisor
        delta[i] = (merged - base[i]) * factor
        out[i] = merged if factor == ONE else base[i] + delta[i]


@compiled
def upcast_bfloat16(stored: NDArray[np.uint16], out: Bits) -> None:
    """Convert bfloat16 to float32; bit patterns in and out."""
    for i in range(stored.size):
        out[i] = np.uint32(stored[i]) << np.uint32(16)


@compiled
def subtract(left: Floats, right: Floats, out: Floats) -> None:
    """out = left - right."""
    for i in range(left.size):
        out[i] = left[i] - right[i]


@compiled
def round_bfloat16(values: Bits, out: NDArray[np.uint16]) -> None:
    """Round float32 to bfloat16, ties to even; bit patterns in and out, no NaN."""
    for i in range(values.size):
        bits = values[i]
        out[i] = np.uint16((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))
