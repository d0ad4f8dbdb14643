"""Elements at given ranks, found by histograms of the bits of their magnitudes, without sorting or storing them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64] | NDArray[np.int32]
LEVELS = ((20, 11), (10, 10), (0, 10))  # shift and number of bits that each pass reads

Place = tuple[int, int]
"""Index of the values, and a rank among them, 0 for the smallest magnitude."""

Prefixes = tuple[tuple[int, int], ...]
"""Indices of values, and the bits above those that are read."""

Histograms = Callable[[int, int, Prefixes], Mapping[tuple[int, int], Counts]]
"""From shift, width and prefixes: a histogram (parts, 2^width) for each prefix, (1, 2^width) above the last level."""


@dataclass(frozen=True)
class Selected:
    """A magnitude at a rank.

    Args:
        magnitude: |x|.
        ties: Number of elements equal to it in each part of the values.
        place: Its rank among all of those.
    """

    magnitude: float
    ties: Counts
    place: int

    def part(self, descending: bool) -> tuple[int, int]:
        """Part of the values with the element, and its rank among those in it that are equal, in storage order.

        Args:
            descending: Ranks count from the largest down; equal elements rank in storage order either way.
        """
        upto = np.cumsum(self.ties, dtype=np.int64)
        nth = int(upto[-1]) - 1 - self.place if descending else self.place
        part = int(np.searchsorted(upto, nth, side="right"))
        return part, nth - int(upto[part] - self.ties[part])


def select(places: Sequence[Place], histograms: Histograms) -> dict[Place, Selected]:
    """Narrow every place down to one bucket of a histogram, level by level."""
    prefixes = dict.fromkeys(places, 0)
    left = {place: place[1] for place in places}  # rank inside the bucket of the prefix
    ties: dict[Place, Counts] = {}
    for shift, width in LEVELS:
        counts = histograms(shift, width, tuple(sorted({(place[0], prefix) for place, prefix in prefixes.items()})))
        for place, prefix in prefixes.items():
            by_part = counts[place[0], prefix]
            here = by_part.sum(axis=0, dtype=np.int64)
            upto = np.cumsum(here)
            bucket = int(np.searchsorted(upto, left[place], side="right"))
            left[place] -= int(upto[bucket] - here[bucket])
            prefixes[place] = (prefix << width) | bucket
            ties[place] = by_part[:, bucket]
    return {
        place: Selected(float(np.array(prefix, np.uint32).view(np.float32)), ties[place], left[place])
        for place, prefix in prefixes.items()
    }
