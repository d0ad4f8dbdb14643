"""Confidence in the difference of two averages: over the choice of problems, and over training runs.

The choice of problems is covered by the bootstrap, whose percentiles are those of Student's distribution (the expanded
percentile interval, Hesterberg 2015, DOI 10.1080/00031305.2015.1089789), with the degrees of freedom of the items:
where few items decide, as in a sparse BLEU-4 or at pass@1 of 0.99, the plain percentile interval is too short.

Two or three training seeds are too few to be drawn with replacement: the drawn ones vary less than seeds do and have no
tails, and each brings the noise of its items along, which then counts twice. Instead, the variance of the mean over
runs is added to that of the items that are hard for every run, and the quantile of the sum is the mean of the quantiles
of its two parts, each Student's with its own degrees of freedom, weighted by their variances (Cochran and Cox 1950,
Experimental Designs, section 4.14). With two degrees of freedom, the usual approximation by Satterthwaite is too
short, and the sum of squared arms (MOVER) too long. docs/findings.md has the coverage that
benchmarks/verdict_simulation.py measures.

Shapes: J runs (training seeds, or with one of them mask seeds), T training seeds, N items, S subjects, K metrics, R
bootstrap draws. Where items come in clusters, the N of influences are clusters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

from src.evaluation.statistics.bootstrap import Array, Difference, bootstrap_p, percentile_interval
from src.evaluation.statistics.score_arrays import ScoreArrays


@dataclass(frozen=True, eq=False)
class Contrast:
    """A difference of two averages with its confidence distribution.

    Attributes:
        n: Items.
        value: First minus second.
        quantiles: R quantiles of the confidence distribution, ascending; an interval is its central share.
        by_run: J: the difference in each run.
        item_variance: Variance of `value` over the choice of items, for these runs.
        run_noise: The part of one run's variance that items explain, differing from run to run; 0 with one run.
        run_variance: Variance of one run's difference beyond the items; 0 with one run, where it is unknown.
    """

    n: int
    value: float
    quantiles: Array
    by_run: tuple[float, ...]
    item_variance: float
    run_noise: float
    run_variance: float

    def interval(self, level: float) -> tuple[float, float]:
        """Central interval with coverage `level`."""
        return percentile_interval(self.quantiles, level)

    def difference(self, level: float) -> Difference:
        """Value, interval and two-sided p of no difference."""
        return Difference(self.n, self.value, *self.interval(level), bootstrap_p(self.quantiles))

    @property
    def error(self) -> float:
        """Standard error of `value`, over items and runs."""
        return float(np.sqrt(self.item_variance + self.run_variance / len(self.by_run)))


def contrast(
    scores: ScoreArrays, runs: ScoreArrays, first: int, second: int, drawn_RTSK: Array, in_points: bool = False
) -> Contrast:
    """Compare two subjects.

    Args:
        scores: Scores after each training seed.
        runs: Scores run by run, from which the variance of runs is estimated; `scores` unless there is one training
            seed and several mask seeds.
        first: Subject.
        second: Subject that is subtracted.
        drawn_RTSK: `scores.drawn_means`.
        in_points: Compare the scores themselves, not the changes against the specialists.
    """
    value = float(_differences(scores, scores.means(), first, second, in_points).mean())
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn_R = _differences(scores, drawn_RTSK, first, second, in_points).mean(axis=-1)
    influences = [part_TN.mean(axis=0) for part_TN in _influences(scores, first, second, in_points)]
    freedom, scale = _student_of_items(influences)
    quantiles = _expanded(drawn_R[np.isfinite(drawn_R)], freedom, scale)
    item_variance = sum(float(part.var(ddof=min(1, len(part) - 1))) / len(part) for part in influences)
    by_run = _differences(runs, runs.means(), first, second, in_points)
    noise, run_variance = _run_variance(by_run, _influences(runs, first, second, in_points))
    return Contrast(
        n=scores.items,
        value=value,
        quantiles=_over_runs(value, quantiles, by_run, noise, item_variance, freedom),
        by_run=tuple(map(float, by_run)),
        item_variance=item_variance,
        run_noise=noise,
        run_variance=run_variance,
    )


def _differences(scores: ScoreArrays, means_xTSK: Array, first: int, second: int, in_points: bool) -> Array:
    """x T: difference of the two averages after each training seed."""
    kept = np.flatnonzero(scores.shares)
    gaps_xTK = means_xTSK[..., first, kept] - means_xTSK[..., second, kept]
    if not in_points:
        gaps_xTK = gaps_xTK / means_xTSK[..., scores.references[kept], kept]
    found: Array = gaps_xTK @ scores.shares[kept]
    return found


def _influences(scores: ScoreArrays, first: int, second: int, in_points: bool) -> list[Array]:
    """T x N per benchmark of the average: how much each item or cluster moves the difference (delta method); mean 0."""
    found = []
    for number, (cube_TNSM, place) in enumerate(scores.benchmarks()):
        total_TN = np.zeros(cube_TNSM.shape[:2])
        for metric in range(cube_TNSM.shape[3]):
            share, reference = scores.shares[place][metric], scores.references[place][metric]
            if not share:
                continue
            gap_TN = cube_TNSM[:, :, first, metric] - cube_TNSM[:, :, second, metric]
            mean_T1 = gap_TN.mean(axis=1, keepdims=True)
            if in_points:
                total_TN += share * (gap_TN - mean_T1)
            else:
                own_TN = cube_TNSM[:, :, reference, metric]
                own_T1 = own_TN.mean(axis=1, keepdims=True)
                total_TN += share * (gap_TN - mean_T1 / own_T1 * own_TN) / own_T1
        if scores.shares[place].any():
            found.append(scores.by_cluster(number, total_TN))
    return found


def _student_of_items(pulls: Sequence[Array]) -> tuple[float, float]:
    """Degrees of freedom of the variance over items, and the ratio of its root to that of the bootstrap.

    They are estimated from the fourth moments of the items (Satterthwaite): where few items decide, as in a sparse
    metric, they are few.

    Args:
        pulls: Of every item on the estimate, per stratum.
    """
    plain = variance = uncertainty = 0.0
    for part in pulls:
        items = len(part)
        plain += float(part.var()) / items
        variance += float(part.var()) / max(items - 1, 1)
        uncertainty += (float((part**4).mean()) - float((part**2).mean()) ** 2) / items**3
    freedom = max(2 * plain**2 / uncertainty, 1.0) if uncertainty > 0 else np.inf
    return freedom, float(np.sqrt(variance / plain)) if plain else 0.0


def _expanded(drawn_R: Array, freedom: float, scale: float) -> Array:
    """Quantiles of the confidence distribution over items: bootstrap draws at the levels of Student's quantiles.

    Args:
        drawn_R: Bootstrap draws of the estimate.
        freedom: Degrees of freedom.
        scale: Of Student's quantiles; 0: the items do not vary.
    """
    count = len(drawn_R)
    if not count:
        return np.zeros(1)
    if not scale:
        return np.sort(drawn_R)
    return np.quantile(drawn_R, ndtr(scale * _student(freedom, _levels(count))))


def _student(freedom: float, levels: Array) -> Array:
    found: Array = stdtrit(freedom, levels) if np.isfinite(freedom) else ndtri(levels)
    return found


def _run_variance(by_run: Array, influences: Sequence[Array]) -> tuple[float, float]:
    """Variance of one run's difference: what items explain (those that differ from run to run), and the rest."""
    runs = len(by_run)
    if runs == 1:
        return 0.0, 0.0
    noise = 0.0
    for part_JN in influences:
        rest_JN = part_JN - part_JN.mean(axis=0)
        items = part_JN.shape[1]
        noise += float((rest_JN**2).sum()) / ((runs - 1) * max(items - 1, 1)) / items
    return noise, max(0.0, float(by_run.var(ddof=1)) - noise)


def _over_runs(value: float, quantiles: Array, by_run: Array, noise: float, variance: float, freedom: float) -> Array:
    """Quantiles over items and runs; with one run, those over items.

    Args:
        value: The estimate.
        quantiles: Over items.
        by_run: The estimate in each run.
        noise: Variance of one run that items explain, differing from run to run.
        variance: Of the estimate over items.
        freedom: Degrees of freedom of the items.
    """
    runs = len(by_run)
    if runs == 1:
        return quantiles
    between = float(by_run.var(ddof=1)) / runs
    shared = max(0.0, variance - noise / runs)
    whole = shared + between
    if not whole:
        return quantiles
    levels = _levels(len(quantiles))
    items_R, runs_R = _student(freedom, levels), _student(runs - 1, levels)
    if not variance:
        return value + runs_R * np.sqrt(between)
    share = between / whole
    joined_R = (1 - share) * items_R + share * runs_R
    factor_R = np.divide(joined_R, items_R, out=np.ones_like(items_R), where=items_R != 0)
    return np.sort(value + (quantiles - value) * factor_R * np.sqrt(whole / variance))


def _levels(count: int) -> Array:
    return (np.arange(count) + 0.5) / count
