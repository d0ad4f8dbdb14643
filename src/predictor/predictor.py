"""The fitted predictor: the expected gap, its interval, the probability that mixing wins, and where it does not answer.

Interval and probability rest on predictions for bases that the model did not see: CV+ (arXiv 1905.02928), one fold per
base. The probability is the share of those errors that would carry the prediction below the margin.

Legend: N studies of the atlas, G folds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from src.predictor.atlas import GAPS, Atlas, Doubles
from src.predictor.features import FEATURES
from src.predictor.regression import MOST, Line, fit
from src.utils.errors import UserError
from src.utils.files import read_json_object, write_json

MARGIN = 2.0  # points; a smaller gap is a tie
LEVEL = 0.9
ROOM = 0.1  # share of a feature's range by which it may leave the range


@dataclass(frozen=True)
class Domain:
    """The region that the atlas covers.

    Args:
        low: Smallest value by feature, as it enters the predictor.
        high: Largest.
        center: Mean of the features of the model.
        precision: Inverse of their covariance.
        farthest: Largest squared Mahalanobis distance of a study from that mean.
    """

    low: Mapping[str, float]
    high: Mapping[str, float]
    center: Sequence[float]
    precision: Sequence[Sequence[float]]
    farthest: float

    def left(self, values: Mapping[str, float], used: Sequence[str]) -> list[str]:
        """Reasons why features, as they enter the predictor, lie outside; nothing where they are inside."""
        found = []
        for name in self.low:
            room = ROOM * (self.high[name] - self.low[name])
            if not self.low[name] - room <= values[name] <= self.high[name] + room:
                low, high, here = (_raw(name, value) for value in (self.low[name], self.high[name], values[name]))
                found.append(f"{name} {here:.3g} is outside {low:.3g} to {high:.3g}")
        step = np.array([values[name] for name in used]) - np.array(self.center)
        distance = float(step @ np.array(self.precision) @ step)
        if not found and distance > self.farthest * (1 + ROOM):
            found.append(
                f"the combination of {', '.join(used)} is farther from the atlas's center than any study of it"
            )
        return found


@dataclass(frozen=True)
class Prediction:
    """What to expect of merging against mixing.

    Args:
        gap: Expected score of the best merge minus that of the mixture, in the predictor's unit.
        low: Lower bound of the interval at `LEVEL`.
        high: Upper bound.
        mix_wins: Probability that the gap is below minus the margin.
        drivers: Points by which each feature moves the gap from the atlas's mean, largest first.
    """

    gap: float
    low: float
    high: float
    mix_wins: float
    drivers: Mapping[str, float]


@dataclass(frozen=True)
class Predictor:
    """A fitted predictor.

    Args:
        names: Features, in the order of the columns of `model` and `folds`.
        model: Fitted on the whole atlas.
        folds: Fitted without one base each.
        fold_of: Fold of each study.
        residuals: Gap minus its prediction by the study's fold.
        means: Mean of each feature in the atlas.
        domain: Where the predictor answers.
        margin: Points; see `MARGIN`.
        unit: Of the gap and the margin; one of `GAPS`.
        pairs: Pairs of tasks in the atlas, `codegen+codesum`; it answers for no other.
        record: How well it did on studies that were left out, in words.
    """

    names: Sequence[str]
    model: Line
    folds: Sequence[Line]
    fold_of: Sequence[int]
    residuals: Sequence[float]
    means: Sequence[float]
    domain: Domain
    margin: float
    unit: str = GAPS["gap"]
    pairs: Sequence[str] = ()
    record: str = ""

    @classmethod
    def fitted(
        cls, atlas: Atlas, margin: float = MARGIN, by: str = "base", most: int = MOST, unit: str = GAPS["gap"]
    ) -> Predictor:
        """Fit, with the choice of features repeated in every fold.

        Args:
            atlas: Studies.
            margin: Points.
            by: Group of studies that are left out together.
            most: Features at most.
            unit: Of the gap.
        """
        groups = atlas.groups[by]
        labels = sorted(set(groups.tolist()))
        model = fit(atlas.values, atlas.gap, groups, most)
        folds = [
            fit(atlas.values[groups != one], atlas.gap[groups != one], groups[groups != one], most) for one in labels
        ]
        fold_of = [labels.index(one) for one in groups.tolist()]
        guesses = np.stack([fold(atlas.values) for fold in folds])[fold_of, np.arange(len(groups))]
        means = atlas.values.mean(axis=0).tolist()
        residuals = (atlas.gap - guesses).tolist()
        pairs = sorted(set(atlas.groups["pair"].tolist()))
        domain = _domain(atlas, model)
        return cls(list(atlas.names), model, folds, fold_of, residuals, means, domain, margin, unit, pairs)

    @property
    def used(self) -> list[str]:
        """Features of the model."""
        return [self.names[column] for column in self.model.columns]

    def outside(self, features: Mapping[str, float], tasks: Sequence[str]) -> list[str]:
        """Reasons why the predictor does not answer; nothing where it does.

        Args:
            features: Raw values by name.
            tasks: Of the specialists.

        Raises:
            UserError: A feature that it needs is missing.
        """
        known = [set(pair.split("+")) for pair in self.pairs]
        strange = [f"its tasks are {', '.join(self.pairs)}"] if set(tasks) not in known else []
        return [*strange, *self.domain.left(self._entering(features, list(self.domain.low)), self.used)]

    def predict(self, features: Mapping[str, float]) -> Prediction:
        """Expected gap at raw features, whether or not the atlas covers them: see `outside`."""
        entering = self._entering(features, self._needed())
        values = np.array([[entering.get(name, 0.0) for name in self.names]])
        gap, low, high, wins = (float(found[0]) for found in self.at(values))
        return Prediction(gap, low, high, wins, self._drivers(values[0]))

    def at(self, values: Doubles, level: float = LEVEL) -> tuple[Doubles, Doubles, Doubles, Doubles]:
        """Gap, bounds of the interval, and probability that mixing wins, for features (M, F) as they enter."""
        guesses = np.stack([fold(values) for fold in self.folds])[list(self.fold_of)]  # (N, M)
        errors = np.array(self.residuals)[:, None]
        low, high = np.sort(guesses - abs(errors), axis=0), np.sort(guesses + abs(errors), axis=0)
        count, alpha = len(errors), 1 - level
        first, last = math.floor(alpha * (count + 1)), math.ceil((1 - alpha) * (count + 1))
        nowhere = np.full(values.shape[0], np.inf)
        below = (guesses + errors < -self.margin).sum(axis=0)
        return (
            self.model(values),
            low[first - 1] if first >= 1 else -nowhere,
            high[last - 1] if last <= count else nowhere,
            (below + 0.5) / (count + 1),
        )

    def _needed(self) -> list[str]:
        columns = sorted({column for line in (self.model, *self.folds) for column in line.columns})
        return [self.names[column] for column in columns]

    def _entering(self, features: Mapping[str, float], names: Sequence[str]) -> dict[str, float]:
        if missing := [name for name in names if name not in features]:
            raise UserError(f"the predictor needs features that are missing: {', '.join(missing)}")
        return {name: FEATURES[name].value(features[name]) for name in names}

    def _drivers(self, values: Doubles) -> dict[str, float]:
        moved = {
            self.names[column]: slope * (float(values[column]) - self.means[column])
            for column, slope in zip(self.model.columns, self.model.slopes, strict=True)
        }
        return dict(sorted(moved.items(), key=lambda item: -abs(item[1])))

    def save(self, path: Path, about: Mapping[str, Any]) -> None:
        """Write it as JSON, with what it was fitted on."""
        write_json(path, {"about": dict(about), "predictor": asdict(self)})

    @classmethod
    def load(cls, path: Path) -> Predictor:
        """Read `save`'s file.

        Raises:
            UserError: It is none.
        """
        try:
            content = read_json_object(path)["predictor"]
            lines = [_line(one) for one in (content.pop("model"), *content.pop("folds"))]
            return cls(model=lines[0], folds=lines[1:], domain=Domain(**content.pop("domain")), **content)
        except (KeyError, TypeError) as error:
            raise UserError(f"{path} is no fitted predictor; make one with python -m src.predictor.refit") from error


def _line(content: Mapping[str, Any]) -> Line:
    return Line(tuple(content["columns"]), tuple(content["slopes"]), content["intercept"])


def _domain(atlas: Atlas, model: Line) -> Domain:
    columns = list(model.columns)
    used = atlas.values[:, columns]
    center = used.mean(axis=0)
    spread = np.atleast_2d(np.cov(used, rowvar=False))
    precision = np.linalg.inv(spread + 1e-9 * np.trace(spread) * np.eye(len(columns)))
    steps = used - center
    farthest = float(np.einsum("ni,ij,nj->n", steps, precision, steps).max())
    limits = {name: atlas.limits[:, column] for column, name in enumerate(atlas.limit_names)}
    ranged = limits | {atlas.names[column]: atlas.values[:, column] for column in columns}
    low, high = ({name: float(edge(column)) for name, column in ranged.items()} for edge in (np.min, np.max))
    return Domain(low, high, center.tolist(), precision.tolist(), farthest)


def _raw(name: str, value: float) -> float:
    return math.exp(value) if FEATURES[name].logarithm else value
