"""Losses of the base plus c_k times the update of each specialist k, for any coefficients c."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from src.evaluation.statistics.excess import ExcessSplit, split_excess
from src.merging.engine.lazy import LazyMerge
from src.merging.registry import recipe_from
from src.search.one_dimension import Minimum, minimize
from src.stages.evaluate.point_losses import Losses, PointLosses
from src.stages.merge.jobs import Parents
from src.stages.merge.lazy_points import recipe_points
from src.utils.errors import UserError

TASK_ARITHMETIC = {
    "_target_": "src.merging.registry.task_arithmetic",
    "normalize": False,
    "lambda": 1.0,
    "match_norm": False,
    "exclude": None,
    "dtype": None,
    "tokenizer": "equal",
    "template": None,
    "generation_config": None,
    "engine": "own",
}
COMMON = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)  # common coefficients that are measured before the search refines


@dataclass(frozen=True)
class CoefficientLosses:
    """Losses of weighted sums of task vectors.

    Args:
        parents: Base and specialists.
        measure: Measures losses; with its journal nothing is measured twice.
        scratch: Directory for config and tokenizer of the sums.
    """

    parents: Parents
    measure: PointLosses
    scratch: Path

    def of(self, points: Sequence[Mapping[str, float]]) -> list[Losses]:
        """Losses of several points, merged together.

        Args:
            points: Coefficient by specialist; one that is not named has 0.

        Raises:
            UserError: A specialist is unknown, the parents do not match, or a point cannot be merged.
        """
        found = self.measure.measure({str(number): one for number, one in enumerate(self.points(points))})
        for losses in found.values():
            if isinstance(losses, UserError):
                raise losses
        return [losses for losses in found.values() if not isinstance(losses, UserError)]

    def split(self, coefficient: float | None = None) -> dict[str, ExcessSplit]:
        """Shrinkage and interference of the plain merge, by task; see `src.evaluation.statistics.excess`.

        Args:
            coefficient: Of every specialist; None: one divided by their number, so 0.5 for two.

        Raises:
            UserError: A task has no specialist of its name.
        """
        tasks = self.measure.tasks
        share = 1.0 / len(self.parents.specialists) if coefficient is None else coefficient
        everyone = dict.fromkeys((name for name, _ in self.parents.specialists), share)
        own, alone = [{task: 1.0} for task in tasks], [{task: share} for task in tasks]
        merged, *rest = self.of([everyone, *own, *alone])
        return {
            task: split_excess(rest[number][task], rest[len(tasks) + number][task], merged[task])
            for number, task in enumerate(tasks)
        }

    def best_common(self, tolerance: float = 0.02, budget: int = 6) -> Minimum:
        """The common coefficient of all specialists with the lowest loss, as a mean over tasks (lambda*).

        Args:
            tolerance: See `minimize`.
            budget: Points after the first seven, which are merged in one pass.
        """
        names = [name for name, _ in self.parents.specialists]

        def values(places: Sequence[float]) -> list[float]:
            return [mean_loss(one) for one in self.of([dict.fromkeys(names, place) for place in places])]

        return minimize(values, COMMON, tolerance, budget)

    def points(self, coefficients: Sequence[Mapping[str, float]]) -> list[LazyMerge]:
        """The merges themselves; arguments and errors as in `of`."""
        names = [name for name, _ in self.parents.specialists]
        wrong = sorted({name for point in coefficients for name in point} - set(names))
        if wrong:
            raise UserError(f"no specialist {', '.join(wrong)}; expected some of {', '.join(names)}")
        whole = [{name: float(point.get(name, 0.0)) for name in names} for point in coefficients]
        recipes = [recipe_from({**TASK_ARITHMETIC, "weights": point}) for point in whole]
        return recipe_points(self.parents, recipes, self.scratch / "files")


def mean_loss(losses: Losses) -> float:
    """Mean over tasks of their losses."""
    return fmean(found.mean for found in losses.values())
