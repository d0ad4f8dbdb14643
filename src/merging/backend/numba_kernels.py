"""Compiled loops over float32 blocks, bitwise equal to torch_ops.py and combine.py.

No fast-math: every product and sum is rounded as in torch.

Legend: n elements, K specialists, P points, U = 4,096 elements that one partial sum covers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numba
import numpy as np
from numba import types
from numba.extending import overload
from numpy.typing import NDArray

from src.merging.backend import kernel_cache
from src.merging.backend.counter_rng import GOLDEN, MIX_1, MIX_2
from src.merging.tensors.reductions import UNIT

Floats = NDArray[np.float32]
Bits = NDArray[np.uint32]

EIGHTH = UNIT // 8  # the first three halvings of a whole unit are done in one loop
ZERO, ONE = np.float32(0), np.float32(1)
STEP, MULTIPLY_1, MULTIPLY_2 = np.uint64(GOLDEN), np.uint64(MIX_1), np.uint64(MIX_2)
S27, S30, S31, S40 = (np.uint64(bits) for bits in (27, 30, 31, 40))
TO_UNIT = np.float32(2.0**-24)
kernel_cache.install()
MAGNITUDE = np.uint32(0x7FFFFFFF)  # all bits of a float32 but its sign


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile on first call, cache on disk, release the GIL."""
    return cast(Callable[..., Any], numba.njit(nogil=True, cache=True, error_model="numpy")(function))


@compiled
def absolute_sums(values: Floats, scratch: NDArray[np.float64], sums: NDArray[np.float64]) -> None:
    """sums[u] = sum of |x| over unit u, added as a tree of halves; scratch (U,)."""
    for unit in range(sums.size):
        part = values[unit * UNIT : (unit + 1) * UNIT]
        if part.size == UNIT:
            for i in range(EIGHTH):
                scratch[i] = (
                    (_size(part[i]) + _size(part[i + 4 * EIGHTH]))
                    + (_size(part[i + 2 * EIGHTH]) + _size(part[i + 6 * EIGHTH]))
                ) + (
                    (_size(part[i + EIGHTH]) + _size(part[i + 5 * EIGHTH]))
                    + (_size(part[i + 3 * EIGHTH]) + _size(part[i + 7 * EIGHTH]))
                )
            sums[unit] = _tree(scratch[:EIGHTH])
        else:
            for i in range(part.size):
                scratch[i] = _size(part[i])
            scratch[part.size :] = 0.0
            sums[unit] = _tree(scratch)


@compiled
def square_sums(values: Floats, scratch: NDArray[np.float64], sums: NDArray[np.float64]) -> None:
    """`absolute_sums` of x^2."""
    for unit in range(sums.size):
        part = values[unit * UNIT : (unit + 1) * UNIT]
        if part.size == UNIT:
            for i in range(EIGHTH):
                scratch[i] = (
                    (_square(part[i]) + _square(part[i + 4 * EIGHTH]))
                    + (_square(part[i + 2 * EIGHTH]) + _square(part[i + 6 * EIGHTH]))
                ) + (
                    (_square(part[i + EIGHTH]) + _square(part[i + 5 * EIGHTH]))
                    + (_square(part[i + 3 * EIGHTH]) + _square(part[i + 7 * EIGHTH]))
                )
            sums[unit] = _tree(scratch[:EIGHTH])
        else:
            for i in range(part.size):
                scratch[i] = _square(part[i])
            scratch[part.size :] = 0.0
            sums[unit] = _tree(scratch)


@compiled
def _size(value: float) -> float:
    return abs(np.float64(value))


@compiled
def _square(value: float) -> float:
    return np.float64(value) * np.float64(value)


@compiled
def _tree(scratch: NDArray[np.float64]) -> float:
    half = scratch.size // 2
    while half > 0:
        for i in range(half):
            scratch[i] += scratch[i + half]
        half //= 2
    return scratch[0]


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
    for byte in range(delta.size >> 3):  # the loop over its bits becomes one vector instruction after another
        for bit in range(8):
            i = 8 * byte + bit
            kept = delta[i] * np.float32((np.uint32(bits[byte]) >> np.uint32(bit)) & np.uint32(1))
            count += kept != ZERO
            out[i] = kept * scale
    for i in range(delta.size & ~7, delta.size):
        kept = delta[i] * np.float32((np.uint32(bits[i >> 3]) >> np.uint32(i & 7)) & np.uint32(1))
        count += kept != ZERO
        out[i] = kept * scale
    return count


@compiled
def combine(
    parts: tuple[Floats, ...], base: Floats, coefficients: Floats, factors: Floats, consensus: bool, normalize: Any,
    totals: Floats, out: Any, sums: NDArray[np.float64], largest: Bits,
) -> None:  # fmt: skip
    """Combine the same parts for all points, unit by unit, so that a unit's values stay in the cache.

    parts K times (n,), base (n,), coefficients (P, K), factors (P, 2: lambda, norm matching), normalize (P,), totals
    (P,: divisor of a plain sum), out (P, n) merged weights, float32 or uint16 that holds bfloat16, sums (P, n / U) of
    squared merged deltas, largest (P,) as in `_store`.
    """
    mixed, divisor, signs = np.zeros(UNIT, np.float32), np.zeros(UNIT, np.float32), np.zeros(UNIT, np.float32)
    merged, scratch = np.empty(UNIT, np.float32), np.empty(UNIT, np.float64)
    for first in range(0, base.size, UNIT):
        unit = slice(first, min(first + UNIT, base.size))
        size = unit.stop - unit.start
        for p in range(coefficients.shape[0]):
            if consensus and len(parts) == 2:
                _elect_two(
                    parts[0][unit], parts[1][unit], coefficients[p, 0], coefficients[p, 1], normalize[p], mixed[:size]
                )
            else:
                _scale(parts[0][unit], coefficients[p, 0], mixed)
                for k in range(1, len(parts)):
                    _add_scaled(parts[k][unit], coefficients[p, k], mixed)
                if consensus:
                    _elect(mixed, signs)
                    for k in range(len(parts)):
                        _vote(parts[k][unit], coefficients[p, k], signs, mixed, divisor, k == 0)
                    if normalize[p]:
                        _divide(mixed, divisor)
                elif normalize[p]:
                    _divide_all(mixed, totals[p])
            _finish(mixed, factors[p, 0], factors[p, 1], base[unit], merged)
            largest[p] = max(largest[p], _store(merged[:size], out[p, unit]))
            mixed[size:] = ZERO
            square_sums(mixed, scratch, sums[p, first // UNIT : first // UNIT + 1])


@compiled
def _elect_two(left: Floats, right: Floats, c_left: float, c_right: float, divide: bool, mixed: Floats) -> None:
    """Election of two specialists, the usual number, in one loop instead of six."""
    for i in range(mixed.size):
        one, other = left[i] * c_left, right[i] * c_right
        sign = ONE if one + other >= ZERO else -ONE
        one_agrees, other_agrees = ONE if one * sign > ZERO else ZERO, ONE if other * sign > ZERO else ZERO
        divisor = c_left * one_agrees + c_right * other_agrees
        found = one * one_agrees + other * other_agrees
        mixed[i] = found / (ONE if divisor == ZERO or not divide else divisor)


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
    values: tuple[Floats, ...], base: Floats, coefficients: Floats, totals: Floats, factors: Floats,
    out: Any, sums: NDArray[np.float64], largest: Bits,
) -> None:  # fmt: skip
    """Weighted means of all points; shapes as in `combine`, totals (P,: divisor), factors (P,: norm matching)."""
    total, delta = np.zeros(UNIT, np.float32), np.zeros(UNIT, np.float32)
    merged, scratch = np.empty(UNIT, np.float32), np.empty(UNIT, np.float64)
    for first in range(0, base.size, UNIT):
        unit = slice(first, min(first + UNIT, base.size))
        size = unit.stop - unit.start
        for p in range(coefficients.shape[0]):
            total[:] = ZERO
            for k in range(len(values)):
                _fused_add(values[k][unit], np.float64(coefficients[p, k]), total)
            _finish_mean(total, totals[p], factors[p], base[unit], delta, merged)
            largest[p] = max(largest[p], _store(merged[:size], out[p, unit]))
            delta[size:] = ZERO
            square_sums(delta, scratch, sums[p, first // UNIT : first // UNIT + 1])


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


def _store(values: Floats, out: Any) -> Any:
    """Store float32 values, or round them to bfloat16, ties to even (uint16, no NaN).

    Returns:
        The largest magnitude of the float32 values, as its bit pattern; that of a NaN is above all numbers.
    """
    raise NotImplementedError("compiled code calls the overload below")


@overload(_store, strict=False)
def _store_compiled(values: Any, out: Any) -> Callable[[Floats, Any], Any]:
    if out.dtype == types.uint16:

        def store(values: Floats, out: Any) -> Any:
            return _round_bfloat16(values.view(np.uint32), out)
    else:

        def store(values: Floats, out: Any) -> Any:
            return _copy(values.view(np.uint32), out.view(np.uint32))

    return store


@compiled
def _round_bfloat16(values: Bits, out: NDArray[np.uint16]) -> Any:
    largest = np.uint32(0)
    for i in range(values.size):
        bits = values[i]
        largest = max(largest, bits & MAGNITUDE)
        out[i] = np.uint16((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))
    return largest


@compiled
def _copy(values: Bits, out: Bits) -> Any:
    largest = np.uint32(0)
    for i in range(values.size):
        largest = max(largest, values[i] & MAGNITUDE)
        out[i] = values[i]
    return largest


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
