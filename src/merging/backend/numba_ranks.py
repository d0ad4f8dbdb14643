"""Compiled selection and ranking without sorting. Magnitudes are compared as the unsigned integers that encode them.

Legend: n elements, r row length.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.merging.backend.numba_kernels import Bits, Floats, compiled, uniform

MAGNITUDE = np.uint32(0x7FFFFFFF)


@compiled
def count_bits(delta: Bits, shift: int, prefix: int, prefix_shift: int, counts: NDArray[np.int64]) -> None:
    """Histogram of the bits of |delta| from `shift` on that `counts` has room for, where those above are `prefix`."""
    room = np.uint32(counts.size - 1)
    apart = np.zeros((4, counts.size), np.int32)  # neighbors often fall into one bucket; in turn they need not wait
    for i in range(delta.size):
        magnitude = delta[i] & MAGNITUDE
        if magnitude >> prefix_shift == prefix:
            apart[i & 3, (magnitude >> shift) & room] += 1
    for part in apart:
        counts += part


@compiled
def rank_masks(delta: Bits, by_rank: Floats, seed: int, start: int, mask: NDArray[np.uint8]) -> None:
    """MagPrune's masks of whole rows: mask = [draw < by_rank[rank of |delta| in its row]], unset where delta is 0.

    Ranks are only needed where they decide: a row's magnitudes are counted into buckets of equal leading bits, and the
    probabilities of a bucket's first and last rank settle nearly all draws. The few buckets that hold an open draw are
    sorted. by_rank (r,) does not decrease; mask (m * r,).
    """
    row = by_rank.size
    detail = min(max(2, int(math.log2(row)) - 4), 12)  # leading mantissa bits: a handful of elements a bucket
    buckets = 16 << detail  # 16 binary orders below the row's largest; what is smaller shares the first bucket
    shift = np.uint32(23 - detail)
    first, count = np.empty(buckets, np.int32), np.empty(buckets, np.int32)
    lowest, highest = np.empty(buckets, np.float32), np.empty(buckets, np.float32)
    place, drawn, members = np.empty(row, np.int32), np.empty(row, np.float32), np.empty(row, np.int32)
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
        _bound(count, by_rank, first, lowest, highest)
        uniform(seed, start + begin, drawn)
        open_draws = np.uint8(0)
        for i in range(row):
            sure = np.uint8(drawn[i] < lowest[place[i]])
            keep[i] = sure | ((sure ^ np.uint8(drawn[i] < highest[place[i]])) << np.uint8(1))
            open_draws |= keep[i]
        if open_draws & 2:
            _settle(magnitude, place, first, count, by_rank, drawn, members, keep)
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
    magnitude: Bits, place: Any, after: Any, count: Any, by_rank: Floats, drawn: Floats, members: Any, keep: Any
) -> None:
    """Decide all draws of the buckets that hold an open one (keep is 2 or 3) by exact ranks.

    Equal magnitudes are ranked in their order of storage. after (buckets,) comes in as the first rank of each bucket
    and ends behind its last.
    """
    size = magnitude.size
    for i in range(size):
        members[after[place[i]]] = i  # no branch: with many ties half the row is in open buckets
        after[place[i]] += 1
    for i in range(size):
        bucket = place[i]
        if keep[i] & 2:
            first = after[bucket] - count[bucket]
            part = members[first : after[bucket]]
            if not _all_equal(magnitude, part):
                part[:] = part[np.argsort(magnitude[part], kind="mergesort")]
            for rank in range(first, after[bucket]):
                keep[members[rank]] = drawn[members[rank]] < by_rank[rank]


@compiled
def _all_equal(magnitude: Bits, members: Any) -> bool:
    differing = np.uint32(0)
    for i in range(1, members.size):
        differing |= magnitude[members[i]] ^ magnitude[members[0]]
    return differing == 0
