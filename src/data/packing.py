"""Pack rows: best-fit first, so that packs are nearly full, then evened out, so that ranks finish together.

n rows, m packs.
"""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Sequence


def pack(lengths: Sequence[int], capacity: int, multiple: int = 1) -> list[list[int]]:
    """Distribute rows over packs; none is dropped or cut.

    There are as many packs as best-fit needs, rounded up to a multiple of the ranks. The rows are then spread evenly,
    since all ranks wait for the one with the most tokens.

    Args:
        lengths: Tokens of each row (n), none above `capacity`.
        capacity: Maximum number of tokens per pack.
        multiple: The number of packs is a multiple of this.

    Returns:
        Row numbers of each pack (m), ascending; packs from long to short, the last may be empty.
    """
    best = best_fit(lengths, capacity)
    count = -(-max(1, len(best)) // multiple) * multiple
    packs = _even(lengths, count)
    if any(sum(lengths[row] for row in rows) > capacity for rows in packs):
        packs = best + [[] for _ in range(count - len(best))]
    ordered = [sorted(rows) for rows in packs]
    return sorted(ordered, key=lambda rows: -sum(lengths[row] for row in rows))


def best_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Best-fit decreasing: longest rows first, each into the pack where it leaves the least room."""
    packs: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (tokens left, pack), sorted
    for row in sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)):
        assert lengths[row] <= capacity
        place = bisect.bisect_left(room, (lengths[row], -1))
        left, number = room.pop(place) if place < len(room) else (capacity, len(packs))
        if number == len(packs):
            packs.append([])
        packs[number].append(row)
        bisect.insort(room, (left - lengths[row], number))
    return packs


def _even(lengths: Sequence[int], count: int) -> list[list[int]]:
    """Spread rows: longest first, each into the pack with the fewest tokens."""
    packs: list[list[int]] = [[] for _ in range(count)]
    sums = [(0, number) for number in range(count)]
    for row in sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)):
        tokens, number = sums[0]
        packs[number].append(row)
        heapq.heapreplace(sums, (tokens + lengths[row], number))
    return packs
