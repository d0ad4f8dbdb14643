"""Cells of a study: combinations of training settings, each a study of its own on shared bases and specialists."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field
from scipy.stats import qmc

from src.utils.errors import UserError, unknown_choice
from src.utils.files import sha256_json
from src.utils.validation import checked_dataclass

Value = float | int | str
Cell = dict[str, Value]  # axis -> value
TARGETS = ("base", "train", "specialist", "mix", "merge", "evaluate", "study")
SEARCHED = 64  # Sobol points drawn per wanted cell where repeated ones are left out
LONGEST_WORDS = 60


@checked_dataclass("study.cells.AXIS")
class Range:
    """Values of an axis that Sobol points take.

    Args:
        low: Lowest value.
        high: Highest value.
        log: Equal ratios instead of equal differences.
        digits: Significant digits kept, so that names stay short.
    """

    low: float
    high: float
    log: bool = False
    digits: Annotated[int, Field(ge=1)] = 2

    def __post_init__(self) -> None:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise UserError(f"expected low < high, and low > 0 with log=true; got {self.low:g} and {self.high:g}")

    def at(self, share: float) -> float:
        """The value at a share (0-1) of the way from low to high."""
        if self.log:
            value = math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        else:
            value = self.low + share * (self.high - self.low)
        return float(f"{value:.{self.digits}g}")


def list_cells(axes: Mapping[str, Any], points: int | None, known: Mapping[str, Any]) -> list[Cell]:
    """All cells of a study.

    Args:
        axes: `study.cells`: axis -> list of values, or with `points` the fields of a `Range`; None: not an axis.
        points: Number of different Sobol points (scrambled, seed 0); None: every combination of the lists.
        known: `study.axes`, whose keys an axis must be one of.

    Raises:
        UserError: An axis is unknown or empty, a range stands without `points`, or there are fewer different points.
    """
    used = {axis: values for axis, values in axes.items() if values is not None}
    values = {axis: _values(axis, given, points, known) for axis, given in used.items()}
    if not values:
        return []
    if points is None:
        lists = [v for v in values.values() if not isinstance(v, Range)]
        return [dict(zip(values, combination, strict=True)) for combination in itertools.product(*lists)]
    return _sobol(values, points)


def cell_words(cell: Mapping[str, Value]) -> list[str]:
    """Words for the run directory of a cell: `["lr0.0003", "width96"]`, of many axes a hash."""
    words = [f"{axis}{_short(value)}" for axis, value in cell.items()]
    return words if len("-".join(words)) <= LONGEST_WORDS else [f"cell{sha256_json(dict(cell))[:8]}"]


def cell_override(cell: Mapping[str, Value]) -> str:
    """The override that runs this cell alone: `study.cell={lr: 0.0003}`."""
    named = ", ".join(f"{axis}: {_quoted(value)}" for axis, value in cell.items())
    return f"study.cell={{{named}}}"


def overrides_for(
    target: str, cell: Mapping[str, Value], axes: Mapping[str, Mapping[str, Sequence[str]]], tasks: int
) -> list[str]:
    """What a cell changes in the commands of one target.

    Args:
        target: One of `TARGETS`.
        cell: The cell.
        axes: Axis -> target -> overrides, in which `{}` is the value and `{all}` the value times the number of tasks.
        tasks: Number of tasks.
    """
    return [
        override.format(value, all=value * tasks if isinstance(value, (int, float)) else value)
        for axis, value in cell.items()
        for override in axes[axis].get(target, [])
    ]


def axes_problems(axes: Mapping[str, Mapping[str, Sequence[str]]], cell: Mapping[str, Value]) -> list[str]:
    """Problems of `study.axes` and `study.cell`."""
    wrong = {(axis, target) for axis, targets in axes.items() for target in targets if target not in TARGETS}
    return [
        *(f"study.axes.{axis} names {target}, expected one of {', '.join(TARGETS)}" for axis, target in sorted(wrong)),
        *(f"study.cell names {axis}, which is not in study.axes" for axis in cell if axis not in axes),
    ]


def _values(axis: str, given: Any, points: int | None, known: Mapping[str, Any]) -> list[Value] | Range:
    if axis not in known:
        raise unknown_choice("axis of study.cells", axis, sorted(known))
    if isinstance(given, Mapping):
        if points is None:
            raise UserError(f"study.cells.{axis} is a range; set study.points, or list its values")
        try:
            return Range(**given)
        except UserError as error:
            raise UserError(str(error).replace("study.cells.AXIS", f"study.cells.{axis}")) from error
    found = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    if not found:
        raise UserError(f"study.cells.{axis}: expected one value or more, got none")
    return found


def _sobol(values: Mapping[str, list[Value] | Range], points: int) -> list[Cell]:
    sampler = qmc.Sobol(len(values), scramble=True, rng=0)
    cells: dict[str, Cell] = {}
    draws = 1 << math.ceil(math.log2(points))
    for _ in range(SEARCHED):
        for row in sampler.random(draws):
            cell = {axis: _at(given, share) for (axis, given), share in zip(values.items(), row, strict=True)}
            cells.setdefault(sha256_json(cell), cell)
            if len(cells) == points:
                return list(cells.values())
    raise UserError(f"study.points={points}: the axes of study.cells have only {len(cells)} different cells")


def _at(values: list[Value] | Range, share: float) -> Value:
    return values.at(share) if isinstance(values, Range) else values[min(int(share * len(values)), len(values) - 1)]


def _short(value: Value) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) else value.replace(",", "+")


def _quoted(value: Value) -> str:
    return f"'{value}'" if isinstance(value, str) else f"{value!r}"
