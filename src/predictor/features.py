"""Features of a set of specialists, fixed in writing before the atlas of studies was run (docs/predictor.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

SETTINGS = {"predict_rows": 128, "threshold": 0.3, "spectra_rank": 16}  # keys of diagnose.py that they are defined with
FLOOR = 1e-6  # of features that enter by their logarithm


@dataclass(frozen=True)
class Feature:
    """One feature.

    Args:
        meaning: What it is, in one line.
        logarithm: Whether it enters the predictor by its natural logarithm.
        limits_only: Not predicted from, but the predictor does not answer outside its range in the atlas.
    """

    meaning: str
    logarithm: bool = False
    limits_only: bool = False

    def value(self, raw: float) -> float:
        """The value that enters the predictor."""
        return math.log(max(raw, FLOOR)) if self.logarithm else raw


FEATURES: Mapping[str, Feature] = {
    "parameters": Feature("number of parameters of the base", logarithm=True, limits_only=True),
    "relative_update": Feature("norm of a specialist's update, divided by the base's norm", logarithm=True),
    "norm": Feature("norm of a specialist's update", logarithm=True),
    "pearson": Feature("correlation of two specialists' updates, mean over layers"),
    "pearson_thresholded": Feature("the same, updates below 30 % of their tensor's largest set to zero"),
    "cosine": Feature("cosine of two specialists' updates"),
    "sign_conflict": Feature("share of opposite signs in two specialists' updates"),
    "subspace_overlap": Feature("mean squared cosine between the leading subspaces of two specialists' updates"),
    "effective_rank": Feature("effective rank of a specialist's update, mean over matrices", logarithm=True),
    "base_nll": Feature("loss of the base on a task's rows", logarithm=True),
    "gain": Feature("loss of the base minus loss of the specialist on its own task's rows"),
    "forgetting": Feature("loss of a specialist on another task's rows minus the base's"),
    "half_excess": Feature("loss of the plain average of all specialists minus that of the task's own"),
    "half_shrinkage": Feature("part of half_excess that the missing share of the task's own update costs"),
    "half_interference": Feature("part of half_excess that the other tasks' updates cost"),
    "lambda_star": Feature("common coefficient of all updates with the lowest mean loss, 0 to 1.5"),
    "lambda_excess": Feature("loss of that merge minus that of the task's own specialist"),
    "gradient_distance_base": Feature("L2 distance of two tasks' gradients at the base", logarithm=True),
    "gradient_cosine_base": Feature("cosine of two tasks' gradients at the base"),
    "gradient_distance_merge": Feature("the distance at the plain average of all specialists", logarithm=True),
    "gradient_cosine_merge": Feature("the cosine at the plain average of all specialists"),
}
