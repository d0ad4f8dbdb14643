"""Points of a grid with one coefficient per task, which need not sum to 1: `study.grids`."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from src.utils.errors import UserError
from src.utils.validation import checked_dataclass

Coefficients = tuple[float, ...]  # one per task, in their order
MOST = 10_000


@checked_dataclass("study.grids.METHOD")
class Grid:
    """Coefficients of one method.

    Args:
        common: The same coefficient for every task, so base + lambda times the sum of all task vectors.
        plane: Every combination of one of these coefficients per task.
        simplex: Coefficients that are multiples of 1 / `simplex` and sum to 1.
    """

    common: Sequence[float] = ()
    plane: Sequence[float] = ()
    simplex: Annotated[int, Field(ge=1)] | None = None

    def points(self, tasks: int) -> list[Coefficients]:
        """All points once, without the one that is the base.

        Args:
            tasks: Number of tasks.

        Raises:
            UserError: There are too many.
        """
        if len(self.plane) ** tasks > MOST:
            raise UserError(f"study.grids.*.plane: {len(self.plane)} values for {tasks} tasks are over {MOST} points")
        found: list[Coefficients] = [(float(value),) * tasks for value in self.common]
        found += itertools.product(map(float, self.plane), repeat=tasks)
        if self.simplex is not None:
            found += [tuple(part / self.simplex for part in parts) for parts in _compositions(self.simplex, tasks)]
        return [point for point in dict.fromkeys(found) if any(point)]


def grid_points(grids: Mapping[str, Mapping[str, Any]], tasks: int) -> list[tuple[str, Coefficients]]:
    """Points of all methods of `study.grids`.

    Raises:
        UserError: A key is unknown, or a value no number.
    """
    found = []
    for method, keys in grids.items():
        try:
            points = Grid(**keys).points(tasks)
        except UserError as error:
            raise UserError(str(error).replace("study.grids.METHOD", f"study.grids.{method}")) from error
        if not points:
            raise UserError(f"study.grids.{method} has no points; give common, plane or simplex")
        found += [(method, point) for point in points]
    return found


def _compositions(total: int, parts: int) -> list[tuple[int, ...]]:
    """All ways to write `total` as an ordered sum of `parts` numbers from 0 on."""
    if parts == 1:
        return [(total,)]
    return [(first, *rest) for first in range(total + 1) for rest in _compositions(total - first, parts - 1)]
