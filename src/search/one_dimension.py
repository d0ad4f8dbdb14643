"""The minimum of a smooth function of one number, from few values: a coarse grid, then parabolas."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from src.utils.errors import UserError

Values = Callable[[Sequence[float]], Sequence[float]]
"""Values at several places, which are asked for together."""
GOLDEN = 0.381966


@dataclass(frozen=True)
class Minimum:
    """A minimum.

    Attributes:
        place: Where it is.
        value: The lowest value that was measured, at `place`.
        measured: Place -> value, in order of place.
        at_edge: The lowest value lies at an end of the range: the minimum may lie outside.
    """

    place: float
    value: float
    measured: dict[float, float]
    at_edge: bool


def minimize(values: Values, grid: Sequence[float], tolerance: float = 0.02, budget: int = 6) -> Minimum:
    """Measure a grid in one go, then refine around its lowest place by successive parabolas.

    A parabola through the three places around the lowest gives the next one; where there is none, the longer side is
    cut in the golden ratio.

    Args:
        values: Measures the function; a place is asked for once.
        grid: Three or more increasing places; their ends bound the search.
        tolerance: Distance between neighbors of the lowest place at which the search ends.
        budget: Maximum number of places after the grid.

    Raises:
        UserError: The grid is no increasing sequence of three or more places.
    """
    if len(grid) < 3 or any(high <= low for low, high in itertools.pairwise(grid)):
        raise UserError(f"expected three or more increasing places, got {list(grid)}")
    measured = dict(zip(map(float, grid), map(float, values(grid)), strict=True))
    for _ in range(budget):
        places = sorted(measured)
        lowest = places.index(min(places, key=lambda place: measured[place]))
        if lowest in (0, len(places) - 1):
            inner = places[1] if lowest == 0 else places[-2]
            place = (places[lowest] + inner) / 2
            if abs(place - places[lowest]) < tolerance:
                break
        else:
            left, middle, right = places[lowest - 1 : lowest + 2]
            if right - left <= 2.001 * tolerance:
                break
            place = _next(left, middle, right, measured, tolerance)
        measured[place] = float(values([place])[0])
    measured = dict(sorted(measured.items()))
    best = min(measured, key=lambda place: measured[place])
    return Minimum(best, measured[best], measured, best in (grid[0], grid[-1]))


def vertex(points: Sequence[tuple[float, float]]) -> float | None:
    """The lowest place of the parabola through three (place, value) points; None if it does not open upwards."""
    (a, fa), (b, fb), (c, fc) = points
    left, right = (fb - fa) / (b - a), (fc - fb) / (c - b)
    bend = (right - left) / (c - a)
    return None if bend <= 0 else (a + b) / 2 - left / (2 * bend)


def _next(left: float, middle: float, right: float, measured: dict[float, float], tolerance: float) -> float:
    place = vertex([(where, measured[where]) for where in (left, middle, right)])
    longer = middle - GOLDEN * (middle - left) if middle - left > right - middle else middle + GOLDEN * (right - middle)
    if place is None or not left < place < right:
        return longer
    if abs(place - middle) < tolerance / 2:  # the other side shows that the minimum is here
        away = tolerance if right - middle >= middle - left else -tolerance
        place = middle + away
    return place if all(abs(place - other) > tolerance / 4 for other in measured) else longer
