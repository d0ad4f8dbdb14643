"""Ridge regression on few features that leave-one-group-out errors choose.

Legend: N studies, F features, S subsets of m features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from src.predictor.atlas import Doubles

RIDGE = 1.0  # added to the sum of squares of a standardized feature, which is N
MOST = 4  # features
WORTH = 0.02  # share of the error by which a further feature must lower it


@dataclass(frozen=True)
class Line:
    """A linear function of few features.

    Args:
        columns: Indices of the features.
        slopes: Per unit of each.
        intercept: Value where all of them are 0.
    """

    columns: tuple[int, ...]
    slopes: tuple[float, ...]
    intercept: float

    def __call__(self, values: Doubles) -> Doubles:
        """Values (N,) at features (N, F)."""
        found: Doubles = values[:, list(self.columns)] @ np.array(self.slopes) + self.intercept
        return found


def fit(values: Doubles, targets: Doubles, groups: NDArray[np.str_], most: int = MOST) -> Line:
    """Choose features by forward selection, then fit.

    A feature is added while it lowers the leave-one-group-out error by `WORTH`; the first always is.

    Args:
        values: (N, F).
        targets: (N,).
        groups: (N,) labels; studies with one label are left out together.
        most: Features at most.
    """
    center, scale = values.mean(axis=0), values.std(axis=0)
    usable = [column for column in range(values.shape[1]) if scale[column] > 1e-12]
    whitened = (values - center) / np.where(scale > 1e-12, scale, 1.0)
    chosen, error = list[int](), float("inf")
    while len(chosen) < min(most, len(usable)):
        candidates = [column for column in usable if column not in chosen]
        errors = _left_out_errors(whitened, targets, groups, [[*chosen, column] for column in candidates])
        if chosen and errors.min() > error * (1 - WORTH):
            break
        chosen.append(candidates[int(errors.argmin())])
        error = float(errors.min())
    design = np.column_stack([whitened[:, chosen], np.ones(len(targets))])
    *slopes, intercept = np.linalg.solve(design.T @ design + _penalty(len(chosen)), design.T @ targets)
    real = [slope / scale[column] for slope, column in zip(slopes, chosen, strict=True)]
    shift = sum(slope * center[column] for slope, column in zip(real, chosen, strict=True))
    return Line(tuple(chosen), tuple(float(slope) for slope in real), float(intercept - shift))


def _left_out_errors(
    whitened: Doubles, targets: Doubles, groups: NDArray[np.str_], subsets: Sequence[Sequence[int]]
) -> Doubles:
    """Root mean squared leave-one-group-out error (S,) of ridge regressions on subsets of one size m."""
    design = np.column_stack([whitened, np.ones(len(targets))])
    columns = np.array([[*subset, whitened.shape[1]] for subset in subsets])  # (S, m + 1)
    gram, moment = design.T @ design, design.T @ targets
    squares = np.zeros(len(subsets))
    for group in np.unique(groups):
        rows = groups == group
        here = design[rows]
        rest, along = gram - here.T @ here, moment - here.T @ targets[rows]
        systems = rest[columns[:, :, None], columns[:, None, :]] + _penalty(columns.shape[1] - 1)
        found = np.linalg.solve(systems, along[columns][:, :, None])[:, :, 0]
        guesses = np.einsum("nsm,sm->sn", here[:, columns], found)
        squares += ((guesses - targets[rows]) ** 2).sum(axis=1)
    errors: Doubles = np.sqrt(squares / len(targets))
    return errors


def _penalty(features: int) -> Doubles:
    return np.diag([RIDGE] * features + [1e-9])
