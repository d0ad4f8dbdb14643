"""Compiled selection and ranking of task vectors, without sorting or storing them.

Magnitudes are compared as the unsigned integers that encode them. Parents are read as stored, a few rows at a time: a
block's float32 values would not fit into the closest caches, and reading them back costs more than recomputing them.

Legend: n elements, r row length, U = 4,096 elements that one partial sum covers. A parent is (n,) float32, or uint16
that holds bfloat16.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload
from numpy.typing import NDArray

from src.merging.backend.numba_kernels import (
    MAGNITUDE,
    Bits,
    Floats,
    absolute_sums,
    compiled,
    square_sums,
    subtract,
    uniform,
    upcast_bfloat16,
)
from src.merging.tensors.reductions import UNIT

Stored = NDArray[Any]
FEW = 8  # open draws of a row that are settled one by one
TOGETHER = 1 << 13  # elements in the rows that are processed together


@compiled
def count_bits(delta: Bits, shift: int, prefix: int, prefix_shift: int, counts: NDArray[np.int64]) -> None:
    """Histogram of the next bits of |delta| above `shift`, over elements whose higher bits equal `prefix`."""
    room = np.uint32(counts.size - 1)
    # four histograms used in turn: neighbors often share a bucket, and each increment would wait for the one before
    apart = np.zeros((4, counts.size), np.int32)
    for i in range(delta.size):
        magnitude = delta[i] & MAGNITUDE
        if magnitude >> prefix_shift == prefix:
            apart[i & 3, (magnitude >> shift) & room] += 1
    for i in range(counts.size):
        counts[i] += (apart[0, i] + apart[1, i]) + (apart[2, i] + apart[3, i])


@compiled
def rank_masks(delta: Bits, by_rank: Floats, seed: int, start: int, mask: NDArray[np.uint8]) -> None:
    """MagPrune's masks of whole rows: mask = [draw < by_rank[rank of |delta| in its row]], unset where delta is 0.

    Exact ranks are computed only where they matter: a row's magnitudes are counted into buckets of equal leading bits,
    and the probabilities of a bucket's first and last rank settle nearly all draws. The few buckets with an open draw
    are sorted. by_rank (r,) does not decrease; mask (m * r,).
    """
    row = by_rank.size
    detail = min(max(2, int(math.log2(row)) - 4), 12)  # leading mantissa bits: a few elements per bucket
    buckets = 16 << detail  # 16 powers of two below the row's largest; smaller values share the first bucket
    shift = np.uint32(23 - detail)
    first, count = np.empty(buckets, np.int32), np.empty(buckets, np.int32)
    lowest, highest = np.empty(buckets, np.float32), np.empty(buckets, np.float32)
    place, drawn, members = np.empty(row, np.int32), np.empty(row, np.float32), np.empty(row, np.int32)
    magnitude, keys = np.empty(row, np.uint32), np.empty(row, np.uint64)
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
        _bound(count, by_rank, first, lowest, highest)
        uniform(seed, start + begin, drawn)
        open_draws = 0
        for i in range(row):
            sure = np.uint8(drawn[i] < lowest[place[i]])
            keep[i] = sure | ((sure ^ np.uint8(drawn[i] < highest[place[i]])) << np.uint8(1))
            open_draws += keep[i] >> np.uint8(1)
        if open_draws > FEW:
            _settle(magnitude, place, first, count, by_rank, drawn, members, keys, keep)
        elif open_draws:
            for i in range(row):
                if keep[i] & 2:
                    keep[i] = drawn[i] < by_rank[_rank(magnitude, i)]
        for i in range(row):
            keep[i] = keep[i] if magnitude[i] else np.uint8(0)


@compiled
def _bound(count: Any, by_rank: Floats, first: Any, lowest: Floats, highest: Floats) -> None:
    """First rank of each bucket, and the probabilities of its first and last rank."""
    rank = 0
    for bucket in range(count.size):
        first[bucket] = rank
        if count[bucket] > 0:
            lowest[bucket], highest[bucket] = by_rank[rank], by_rank[rank + count[bucket] - 1]
        rank += count[bucket]


@compiled
def _settle(
    magnitude: Bits, place: Any, after: Any, count: Any, by_rank: Floats, drawn: Floats, members: Any, keys: Any,
    keep: Any,
) -> None:  # fmt: skip
    """Decide all draws of the buckets with an open draw (keep is 2 or 3) by exact ranks.

    Equal magnitudes are ranked in storage order. On entry, after (buckets,) is each bucket's first rank; on exit, the
    rank after its last.
    """
    size = magnitude.size
    for i in range(size):
        members[after[place[i]]] = i  # no branch: with many ties, half the row is in open buckets
        after[place[i]] += 1
    for i in range(size):
        bucket = place[i]
        if keep[i] & 2:
            first = after[bucket] - count[bucket]
            part = members[first : after[bucket]]
            if not _all_equal(magnitude, part):
                _sort(magnitude, part, keys)
            for rank in range(first, after[bucket]):
                keep[members[rank]] = drawn[members[rank]] < by_rank[rank]


@compiled
def _rank(magnitude: Bits, index: int) -> int:
    """Rank of one element; equal magnitudes are ranked in storage order."""
    own, rank = magnitude[index], 0
    for i in range(index):
        rank += magnitude[i] <= own
    for i in range(index + 1, magnitude.size):
        rank += magnitude[i] < own
    return rank


@compiled
def _sort(magnitude: Bits, members: Any, keys: Any) -> None:
    """Sort members by magnitude, then by position: a shell sort, because numpy's sort takes seconds to compile."""
    for i in range(members.size):
        keys[i] = (np.uint64(magnitude[members[i]]) << np.uint64(32)) | np.uint64(members[i])
    gap = members.size // 2
    while gap > 0:
        for i in range(gap, members.size):
            key, at = keys[i], i
            while at >= gap and keys[at - gap] > key:
                keys[at] = keys[at - gap]
                at -= gap
            keys[at] = key
        gap = 1 if gap == 2 else gap * 5 // 11
    for i in range(members.size):
        members[i] = np.int32(keys[i] & np.uint64(0xFFFFFFFF))


@compiled
def _all_equal(magnitude: Bits, members: Any) -> bool:
    differing = np.uint32(0)
    for i in range(1, members.size):
        differing |= magnitude[members[i]] ^ magnitude[members[0]]
    return differing == 0


def _upcast(stored: Stored, out: Floats) -> None:
    """out = stored, in float32."""
    raise NotImplementedError("compiled code calls the overload below")


@overload(_upcast, strict=False)
def _upcast_compiled(stored: Any, out: Any) -> Callable[[Stored, Floats], None]:
    if stored.dtype == types.uint16:

        def upcast(stored: Stored, out: Floats) -> None:
            upcast_bfloat16(stored, out.view(np.uint32))
    else:

        def upcast(stored: Stored, out: Floats) -> None:
            for i in range(stored.size):  # assigning a slice takes seconds to compile
                out[i] = stored[i]

    return upcast


@compiled
def _delta(base: Stored, specialist: Stored, scratch: Floats) -> Floats:
    """specialist - base (m,), in float32, in the last third of scratch (3, at least m)."""
    size = base.size
    # three separate rows, because the compiler does not vectorize operands that may overlap
    _upcast(specialist, scratch[0, :size])
    _upcast(base, scratch[1, :size])
    subtract(scratch[0, :size], scratch[1, :size], scratch[2, :size])
    return scratch[2, :size]


@compiled
def delta_moments(
    base: Stored, specialist: Stored, absolute: NDArray[np.float64], squares: NDArray[np.float64]
) -> None:
    """Partial sums (U,) of |D| and D^2, added as `deterministic_sums` adds."""
    scratch, sums = np.empty((3, UNIT), np.float32), np.empty(UNIT, np.float64)
    for unit in range(absolute.size):
        here = slice(unit * UNIT, min((unit + 1) * UNIT, base.size))
        delta = _delta(base[here], specialist[here], scratch)
        absolute_sums(delta, sums, absolute[unit : unit + 1])
        square_sums(delta, sums, squares[unit : unit + 1])


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
