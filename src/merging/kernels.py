"""Compiled loops over float32 blocks. They do what ops.py and combine.py do in torch, to the last bit.

No fast-math: products and sums are rounded one by one, as in torch. Magnitudes are compared as unsigned integers, which
order like the floats they encode.

Legend: n elements, K specialists, P points, U = 4,096 elements that one partial sum covers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import numba
import numpy as np
from numpy.typing import NDArray

from src.merging.draws import GOLDEN, MIX_1, MIX_2
from src.merging.fold import UNIT

Floats = NDArray[np.float32]
Bits = NDArray[np.uint32]

ZERO, ONE = np.float32(0), np.float32(1)
MAGNITUDE = np.uint32(0x7FFFFFFF)
STEP, MULTIPLY_1, MULTIPLY_2 = np.uint64(GOLDEN), np.uint64(MIX_1), np.uint64(MIX_2)
S27, S30, S31, S40 = (np.uint64(bits) for bits in (27, 30, 31, 40))
TO_UNIT = np.float32(2.0**-24)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile on first call, cache on disk, run without the interpreter's lock."""
    return cast(Callable[..., Any], numba.njit(nogil=True, cache=True, error_model="numpy")(function))


@compiled
def fold(values: Floats, power: int, scratch: NDArray[np.float64], sums: NDArray[np.float64]) -> None:
    """sums[u] = sum of |x| (power 1) or x^2 (power 2) over unit u, added as a tree of halves; scratch (U,)."""
    for unit in range(sums.size):
        first = unit * UNIT
        count = min(UNIT, values.size - first)
        for i in range(count):
            wide = np.float64(values[first + i])
            scratch[i] = wide * wide if power == 2 else abs(wide)
        for i in range(count, UNIT):
            scratch[i] = 0.0
        half = UNIT // 2
        while half > 0:
            for i in range(half):
                scratch[i] += scratch[i + half]
            half //= 2
        sums[unit] = scratch[0]


@compiled
def keep_between(delta: Floats, low: float, high: float, scale: float, out: Floats) -> None:
    """out = delta * [low <= |delta| <= high] * scale."""
    for i in range(delta.size):
        size = abs(delta[i])
        out[i] = (delta[i] * (ONE if low <= size <= high else ZERO)) * scale


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
def keep_drawn(delta: Floats, seed: int, start: int, density: float, scale: float, out: Floats) -> None:
    """out = delta * [draw < density] * scale."""
    uniform(seed, start, out)
    for i in range(delta.size):
        out[i] = (delta[i] * (ONE if out[i] < density else ZERO)) * scale


@compiled
def keep_masked(delta: Floats, bits: NDArray[np.uint8], scale: float, out: Floats) -> None:
    """out = delta * bit * scale; bit i is bit i % 8 of byte i // 8."""
    for i in range(delta.size):
        bit = (bits[i >> 3] >> np.uint8(i & 7)) & np.uint8(1)
        out[i] = (delta[i] * np.float32(bit)) * scale


@compiled
def count_bits(delta: Bits, shift: int, prefix: int, prefix_shift: int, counts: NDArray[np.int64]) -> None:
    """Histogram of the bits of |delta| from `shift` on that `counts` has room for, where those above are `prefix`."""
    room = np.uint32(counts.size - 1)
    for i in range(delta.size):
        magnitude = delta[i] & MAGNITUDE
        if magnitude >> prefix_shift == prefix:
            counts[(magnitude >> shift) & room] += 1


@compiled
def rank_masks(delta: Bits, by_rank: Floats, seed: int, start: int, mask: NDArray[np.uint8]) -> None:
    """MagPrune's masks of whole rows: mask = [draw < by_rank[rank of |delta| in its row]], unset where delta is 0.

    Ranks are only needed where they decide: a row's magnitudes are counted into buckets of equal leading bits, and the
    probabilities of a bucket's first and last rank settle nearly all draws. The few buckets that hold an open draw are
    sorted. by_rank (r,) does not decrease; mask (m * r,).
    """
    row = by_rank.size
    detail = max(2, int(math.log2(row)) - 4)  # leading mantissa bits: a handful of elements a bucket
    buckets = 16 << detail  # 16 binary orders below the row's largest; what is smaller shares the first bucket
    shift = np.uint32(23 - detail)
    first, count = np.empty(buckets, np.int32), np.empty(buckets, np.int32)
    lowest, highest = np.empty(buckets, np.float32), np.empty(buckets, np.float32)
    place, drawn, members = np.empty(row, np.int32), np.empty(row, np.float32), np.empty(row, np.int64)
    magnitude = np.empty(row, np.uint32)
    for begin in range(0, delta.size, row):
        keep = mask[begin : begin + row]
        largest = np.uint32(0)
        for i in range(row):
            magnitude[i] = delta[begin + i] & MAGNITUDE
            largest = max(largest, magnitude[i])
        offset = np.int32(largest >> shift) - np.int32(buckets - 1)
        count[:] = 0
        for i in range(row):
            place[i] = max(np.int32(magnitude[i] >> shift) - offset, np.int32(0))
            count[place[i]] += 1
        rank = 0
        for b in range(buckets):
            first[b] = rank
            if count[b] > 0:
                lowest[b], highest[b] = by_rank[rank], by_rank[rank + count[b] - 1]
            rank += count[b]
        uniform(seed, start + begin, drawn)
        seen = np.uint8(0)
        for i in range(row):
            sure = np.uint8(drawn[i] < lowest[place[i]])
            keep[i] = sure | ((sure ^ np.uint8(drawn[i] < highest[place[i]])) << np.uint8(1))
            seen |= keep[i]
        if seen & 2:
            for i in range(row):
                if keep[i] & 2:
                    _settle(magnitude, place, place[i], first[place[i]], by_rank, drawn, members, keep)
        for i in range(row):
            keep[i] = keep[i] if magnitude[i] else np.uint8(0)


@compiled
def _settle(
    magnitude: Bits, place: Any, bucket: int, rank: int, by_rank: Floats, drawn: Floats, members: Any, keep: Any
) -> None:
    """Decide a bucket's draws by exact ranks; equal magnitudes are ranked in their order of storage."""
    size = 0
    equal = True
    for i in range(magnitude.size):
        if place[i] == bucket:
            members[size] = i
            size += 1
            equal &= magnitude[i] == magnitude[members[0]]
    if equal:
        for i in range(size):
            keep[members[i]] = drawn[members[i]] < by_rank[rank + i]
        return
    order = np.argsort(magnitude[members[:size]], kind="mergesort")
    for i in range(size):
        member = members[order[i]]
        keep[member] = drawn[member] < by_rank[rank + i]


@compiled
def combine(
    parts: Floats, base: Floats, weights: Floats, factors: Floats, consensus: bool, normalize: Any, totals: Floats,
    out: Floats, sums: NDArray[np.float64], scratch: NDArray[np.float64],
) -> None:  # fmt: skip
    """All points that combine the same parts, one unit after the other, so that a unit's values stay in the cache.

    parts (K, n), base (n,), weights (P, K), factors (P, 2: lambda, norm matching), normalize (P,), totals (P,: divisor
    of a plain sum), out (P, n) merged weights, sums (P, n / U) of squared merged deltas, scratch (U,).
    """
    specialists, size = parts.shape
    mixed, divisor, elected = np.empty(UNIT, np.float32), np.empty(UNIT, np.float32), np.empty(UNIT, np.float32)
    for first in range(0, size, UNIT):
        count = min(UNIT, size - first)
        for p in range(weights.shape[0]):
            for k in range(specialists):
                weight = weights[p, k]
                if k == 0:
                    for i in range(count):
                        mixed[i] = parts[k, first + i] * weight
                else:
                    for i in range(count):
                        mixed[i] += parts[k, first + i] * weight
            if consensus:
                for i in range(count):
                    elected[i] = ONE if mixed[i] >= ZERO else -ONE
                for k in range(specialists):
                    weight = weights[p, k]
                    for i in range(count):
                        part = parts[k, first + i] * weight
                        agrees = ONE if part * elected[i] > ZERO else ZERO
                        mixed[i] = part * agrees if k == 0 else mixed[i] + part * agrees
                        divisor[i] = weight * agrees if k == 0 else divisor[i] + weight * agrees
                if normalize[p]:
                    for i in range(count):
                        mixed[i] /= ONE if divisor[i] == ZERO else divisor[i]
            elif normalize[p]:
                for i in range(count):
                    mixed[i] /= totals[p]
            for i in range(count):
                mixed[i] = (mixed[i] * factors[p, 0]) * factors[p, 1]
                out[p, first + i] = base[first + i] + mixed[i]
            fold(mixed[:count], 2, scratch, sums[p, first // UNIT : first // UNIT + 1])


@compiled
def mean(
    values: Floats, base: Floats, weights: Floats, totals: Floats, factors: Floats,
    out: Floats, sums: NDArray[np.float64], scratch: NDArray[np.float64],
) -> None:  # fmt: skip
    """Weighted means of all points; shapes as in `combine`, totals (P,: divisor), factors (P,: norm matching)."""
    specialists, size = values.shape
    delta = np.empty(UNIT, np.float32)
    for first in range(0, size, UNIT):
        count = min(UNIT, size - first)
        for p in range(weights.shape[0]):
            for i in range(count):
                total = ZERO
                for k in range(specialists):  # exact in float64, so each step rounds once: a fused multiply-add
                    total = np.float32(np.float64(total) + np.float64(values[k, first + i]) * np.float64(weights[p, k]))
                total /= totals[p]
                delta[i] = (total - base[first + i]) * factors[p]
                out[p, first + i] = total if factors[p] == ONE else base[first + i] + delta[i]
            fold(delta[:count], 2, scratch, sums[p, first // UNIT : first // UNIT + 1])


@compiled
def round_bfloat16(values: Bits, out: NDArray[np.uint16]) -> None:
    """Round float32 to bfloat16, ties to even, bit patterns in and out; NaN excluded."""
    for i in range(values.size):
        bits = values[i]
        out[i] = np.uint16((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))
