"""Scores predicted from losses: one decreasing map per task, through models of which both are known.

The plain mean of losses ranks merges badly: a tenth of a nat costs one task much and another nothing. The base, the
specialists and the mixture of a study are generated anyway; through them each task's loss is mapped to its score
relative to the specialist, and the mean over tasks estimates the average that generation would give.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression

from src.evaluation.statistics.averages import RelativeScores
from src.utils.errors import UserError

FLOOR = -1.0  # a score of 0, relative to the specialist's


@dataclass(frozen=True)
class LossMap:
    """A decreasing function of a task's loss.

    Between known models it is linear; outside it goes on with the slope of the nearest segment, not below `FLOOR`.

    Args:
        losses: Increasing.
        scores: Never increasing.
    """

    losses: tuple[float, ...]
    scores: tuple[float, ...]

    @classmethod
    def through(cls, losses: Sequence[float], scores: Sequence[float]) -> LossMap:
        """The decreasing function closest to known models in squares (isotonic regression); equal losses are averaged.

        Args:
            losses: Two or more, not all equal, of known models.
            scores: Their relative changes; -0.05 is 5% below the specialist.

        Raises:
            UserError: There are fewer than two different losses.
        """
        places, groups, counts = np.unique(np.array(losses, float), return_inverse=True, return_counts=True)
        if len(places) < 2:
            raise UserError(f"expected known models with two or more different losses, got {list(losses)}")
        means = np.bincount(groups, weights=np.array(scores, float)) / counts
        fitted = isotonic_regression(means, weights=counts, increasing=False).x
        return cls(tuple(places.tolist()), tuple(fitted.tolist()))

    def __call__(self, loss: float) -> float:
        """The score at a loss."""
        place = int(np.clip(np.searchsorted(self.losses, loss), 1, len(self.losses) - 1))
        (low, high), (first, last) = self.losses[place - 1 : place + 1], self.scores[place - 1 : place + 1]
        return max(FLOOR, first + (loss - low) * (last - first) / (high - low))


@dataclass(frozen=True)
class PredictedScores:
    """Averages of merge points, predicted from their losses.

    Args:
        maps: By task.
    """

    maps: Mapping[str, LossMap]

    @classmethod
    def from_known(
        cls, relative: RelativeScores, losses: Mapping[str, Mapping[str, float]], tasks: Mapping[str, str]
    ) -> PredictedScores:
        """Fit the maps.

        Args:
            relative: Generated scores of the known models.
            losses: Known model -> task -> loss.
            tasks: benchmark -> task.

        Raises:
            UserError: All known models have one loss.
        """
        maps = {}
        for task in dict.fromkeys(tasks.values()):
            changes = {name: _task_change(relative, name, task, tasks) for name in losses}
            known = [name for name, change in changes.items() if change is not None]
            if known:  # a task is not part of the average if its specialist scores 0
                points = [losses[name][task] for name in known], [changes[name] or 0.0 for name in known]
                maps[task] = LossMap.through(*points)
        return cls(maps)

    def average(self, losses: Mapping[str, float]) -> float:
        """The predicted average of one point, a fraction; 0 if no task is part of the average.

        Args:
            losses: By task.
        """
        return sum(one(losses[task]) for task, one in self.maps.items()) / max(len(self.maps), 1)

    def ranked(self, losses: Mapping[str, Mapping[str, float]]) -> list[str]:
        """Names of points, the best first; of equal ones that with the lower mean loss.

        Args:
            losses: Point -> task -> loss.
        """

        def order(name: str) -> tuple[float, float]:
            return -round(self.average(losses[name]), 12), sum(losses[name].values())

        return sorted(losses, key=order)


def _task_change(relative: RelativeScores, subject: str, task: str, tasks: Mapping[str, str]) -> float | None:
    """Mean relative change of one task, its metrics weighted as in the average; None if none is part of it."""
    shares = dict(zip(relative.measured, relative.arrays.shares, strict=True))
    changes = relative.averages[subject].changes
    own = {key: shares[key] for key in changes if tasks[key[0]] == task}
    return sum(share * changes[key] for key, share in own.items()) / sum(own.values()) if own else None
