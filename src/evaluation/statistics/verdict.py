"""Mix or merge: the choice of one model per side on validation data, and the verdict on test data.

Each side has one champion, chosen on validation data: a mixture, and a merge with its method and coefficients. The two
are compared once, on test data, by a rule that treats both sides alike. All other comparisons are secondary: their
p-values are corrected together (Holm), and they decide nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from src.evaluation.statistics.averages import RelativeScores
from src.evaluation.statistics.bootstrap import Array, Difference, holm
from src.evaluation.statistics.confidence import Contrast, contrast
from src.evaluation.statistics.power import Power, power_of
from src.evaluation.statistics.score_arrays import ScoreArrays
from src.evaluation.statistics.scores import Metric
from src.utils.errors import UserError, first_differences

MIX, MERGE, EQUIVALENT, UNDECIDED, TIE = "mix", "merge", "equivalent", "undecided", "tie"
MARGIN = 0.02  # of the average


@dataclass(frozen=True)
class Champion:
    """The model that stands for one side, chosen on validation data.

    Attributes:
        subject: Its name in the scores.
        average: On test data, from `RelativeScores`; -0.05 is 5% below the specialists.
    """

    subject: str
    average: float


@dataclass(frozen=True)
class Comparison:
    """A secondary comparison: the champion mixture against another merge.

    Attributes:
        method: Name of the merge method.
        subject: The merge's name in the scores.
        average: The merge's average.
        difference: Mixture's average minus the merge's, a fraction, with interval and uncorrected p.
        p_corrected: Holm-corrected over the secondary comparisons.
        winner: `mix`, `merge` or `tie`.
    """

    method: str
    subject: str
    average: float
    difference: Difference
    p_corrected: float
    winner: str


@dataclass(frozen=True)
class Variation:
    """Where the uncertainty of a difference comes from.

    Attributes:
        items: Standard error from the choice of problems.
        runs: `training seed` or `mask seed`: what was repeated; empty: nothing was.
        by_run: The difference in each run.
        deviation: Standard deviation of one run's difference beyond what problems explain; 0 with a single run.
    """

    items: float
    runs: str
    by_run: tuple[float, ...]
    deviation: float


@dataclass(frozen=True)
class Without:
    """The verdict if one metric did not count.

    Attributes:
        metric: (benchmark, metric) that is left out.
        outcome: `mix`, `merge`, `equivalent` or `undecided`.
        difference: Mixture minus merge over the other metrics.
    """

    metric: Metric
    outcome: str
    difference: Difference


@dataclass(frozen=True)
class StudyVerdict:
    """The verdict of a study: mix the data or merge the models.

    Attributes:
        outcome: `mix`, `merge`, `equivalent` or `undecided`.
        mixture: The champion mixture.
        merge: The champion merge.
        method: Method of the champion merge.
        difference: Mixture minus merge, of the averages, at `level`.
        points: The same for the scores themselves, with the weights of the average.
        equivalence: Interval at 1 - 2 (1 - level), which lies within the margin if the two are equivalent.
        margin: Differences of the averages below it count as none.
        variation: Where the uncertainty comes from.
        power: What the study could have found, and what would decide.
        without: The verdict without each metric.
        comparisons: The mixture against the merges that are not champions.
        left_out: (benchmark, metric) pairs on which the specialist scores 0; they are not part of the average.
        comparable: False if all metrics are left out, so that there is no verdict.
        level: Coverage of the intervals.
        training_seeds: Number of training seeds.
    """

    outcome: str
    mixture: Champion
    merge: Champion
    method: str
    difference: Difference
    points: Difference
    equivalence: tuple[float, float]
    margin: float
    variation: Variation
    power: Power
    without: tuple[Without, ...]
    comparisons: tuple[Comparison, ...]
    left_out: tuple[Metric, ...]
    comparable: bool
    level: float
    training_seeds: int


def choose_point(relative: RelativeScores, points: Sequence[str]) -> str:
    """The merge point or mixture with the highest average on validation data.

    Args:
        relative: Scores of the points and the specialists.
        points: Subjects to choose from; the first one wins a tie.

    Returns:
        One of `points`.

    Raises:
        UserError: No points.
    """
    if not points:
        raise UserError("no merge points to choose from; check study.methods and study.weights")
    return max(points, key=lambda point: round(relative.averages[point].mean, 12))  # max returns the first in a tie


def outcome_of(difference: Contrast, margin: float, level: float) -> str:
    """Decide a comparison of mixture minus merge.

    Args:
        difference: The comparison.
        margin: If the interval at 1 - 2 (1 - level) lies within it, the two are equivalent (two one-sided tests,
            Schuirmann 1987, DOI 10.1007/BF01068419), also where they differ significantly; 0: never.
        level: Coverage of the interval that must exclude 0.
    """
    low, high = difference.interval(2 * level - 1)
    if -margin < low <= high < margin:
        return EQUIVALENT
    low, high = difference.interval(level)
    return MIX if low > 0 else MERGE if high < 0 else UNDECIDED


def decide(
    relative: RelativeScores,
    mixture: str,
    merges: Mapping[str, str],
    champion: str | None = None,
    margin: float = MARGIN,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> StudyVerdict:
    """Decide between mixing and merging on test data, for models that were chosen on other data.

    Args:
        relative: Scores of the mixture, the merges and the specialists.
        mixture: Champion among the subjects fine-tuned on mixed data.
        merges: method -> subject.
        champion: Method of the champion merge; None: there is only one method.
        margin: Differences of the averages below it count as none.
        level: Coverage of the intervals.
        resamples: Bootstrap draws.
        seed: Seed of the draws.

    Raises:
        UserError: There is no merge, or the mixture or a merge has no scores.
    """
    absent = [subject for subject in (mixture, *merges.values()) if subject not in relative.subjects]
    if absent or not merges:
        raise UserError(first_differences("the verdict needs a mixture and at least one merge; no scores of", absent))
    method = next(iter(merges)) if champion is None else champion
    assert champion is not None or len(merges) == 1, "several merges need a champion"
    return _verdict(_Against(relative, mixture, relative.drawn_means(resamples, seed)), merges, method, margin, level)


def _verdict(against: _Against, merges: Mapping[str, str], method: str, margin: float, level: float) -> StudyVerdict:
    relative, mixture, merge = against.relative, against.mixture, merges[method]
    found = against.contrast(merge)
    comparable = len(relative.left_out) < len(relative.metrics)
    return StudyVerdict(
        outcome=outcome_of(found, margin, level) if comparable else UNDECIDED,
        mixture=Champion(mixture, relative.averages[mixture].mean),
        merge=Champion(merge, relative.averages[merge].mean),
        method=method,
        difference=found.difference(level),
        points=against.contrast(merge, in_points=True).difference(level),
        equivalence=found.interval(2 * level - 1),
        margin=margin,
        variation=_variation(relative, found),
        power=power_of(found, margin, level),
        without=tuple(against.without_each(merge, margin, level)),
        comparisons=_secondary(against, {name: one for name, one in merges.items() if name != method}, level),
        left_out=relative.left_out,
        comparable=comparable,
        level=level,
        training_seeds=relative.training_seeds,
    )


@dataclass(frozen=True)
class _Against:
    """Comparisons of one mixture, all with the same draws."""

    relative: RelativeScores
    mixture: str
    drawn: Array

    def contrast(self, merge: str, in_points: bool = False, shares: Array | None = None) -> Contrast:
        """The mixture minus a merge, with other weights of the metrics if they are given."""
        masks = max(self.relative.seeds[name] for name in (self.mixture, merge)) > 1
        scores, runs = (
            each if shares is None else replace(each, shares=shares)
            for each in (self.relative.arrays, self.relative.runs() if masks else self.relative.arrays)
        )
        places = [self.relative.subjects.index(name) for name in (self.mixture, merge)]
        return contrast(scores, runs, places[0], places[1], self.drawn, in_points)

    def without_each(self, merge: str, margin: float, level: float) -> list[Without]:
        """The verdict without each metric; the others of its task share its weight."""
        found = []
        for k, metric in enumerate(self.relative.measured):
            shares = _shares_without(self.relative, self.relative.arrays, k)
            if shares is not None:
                other = self.contrast(merge, shares=shares)
                found.append(Without(metric, outcome_of(other, margin, level), other.difference(level)))
        return found


def _shares_without(relative: RelativeScores, scores: ScoreArrays, left_out: int) -> Array | None:
    """Weights of the metrics without one; None if it has none, or is the only one of its task."""
    tasks = np.array([relative.tasks[benchmark] for benchmark, _ in relative.measured])
    same = tasks == tasks[left_out]
    whole, rest = scores.shares[same].sum(), scores.shares[same].sum() - scores.shares[left_out]
    if not scores.shares[left_out] or rest < 1e-12:
        return None
    shares = np.where(same, scores.shares * whole / rest, scores.shares)
    shares[left_out] = 0
    return shares


def _variation(relative: RelativeScores, found: Contrast) -> Variation:
    runs = "training seed" if relative.training_seeds > 1 else "mask seed" if len(found.by_run) > 1 else ""
    return Variation(found.item_variance**0.5, runs, found.by_run, found.run_variance**0.5)


def _secondary(against: _Against, merges: Mapping[str, str], level: float) -> tuple[Comparison, ...]:
    """The mixture against every other merge."""
    differences = {method: against.contrast(subject).difference(level) for method, subject in merges.items()}
    corrected = holm({method: difference.p for method, difference in differences.items()})
    averages = against.relative.averages
    return tuple(
        Comparison(method, merges[method], averages[merges[method]].mean, difference, corrected[method],
                   _winner(difference, corrected[method], 1 - level))
        for method, difference in differences.items()
    )  # fmt: skip


def _winner(difference: Difference, p_corrected: float, alpha: float) -> str:
    if difference.tie or p_corrected > alpha:
        return TIE
    return MIX if difference.difference > 0 else MERGE
