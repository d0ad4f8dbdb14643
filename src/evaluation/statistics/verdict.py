"""Mix or merge: the choice of coefficients on validation data, and the verdict on test data with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from src.evaluation.statistics.averages import RelativeScores
from src.evaluation.statistics.bootstrap import Array, Difference, bootstrap_p, holm, percentile_interval
from src.evaluation.statistics.scores import Metric
from src.utils.errors import UserError, first_differences

MIX, TIE = "mix", "tie"


@dataclass(frozen=True)
class Comparison:
    """The mixture against one merge.

    Attributes:
        method: Name of the merge method.
        average: The merge's average, from `RelativeScores`.
        difference: Mixture's average minus the merge's, a fraction, with interval and uncorrected p.
        p_corrected: Holm-corrected over the merges compared.
        winner: `"mix"`, `"merge:<method>"` or `"tie"`.
    """

    method: str
    average: float
    difference: Difference
    p_corrected: float
    winner: str


@dataclass(frozen=True)
class StudyVerdict:
    """The verdict of a study: mix the data or merge the models.

    Attributes:
        winner: `"mix"`, `"merge:<method>"` or `"tie"`.
        mixture: The mixture's average, from `RelativeScores`.
        best: The mixture against the best merge, which is the winner if a merge wins.
        comparisons: The mixture against every merge.
        left_out: (benchmark, metric) pairs on which the specialist scores 0; they are not part of the average.
        comparable: False if all metrics are left out, so that there is no verdict.
        level: Coverage of the intervals.
    """

    winner: str
    mixture: float
    best: Comparison
    comparisons: tuple[Comparison, ...]
    left_out: tuple[Metric, ...]
    comparable: bool
    level: float


def choose_point(relative: RelativeScores, points: Sequence[str]) -> str:
    """The merge point with the highest average on validation data.

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


def decide(
    relative: RelativeScores,
    mixture: str,
    merges: Mapping[str, str],
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> StudyVerdict:
    """Decide between mixing and merging on test data, for merges whose coefficients were chosen on other data.

    The interval is a percentile bootstrap over problems, drawn within each benchmark and jointly for all subjects.
    A merge wins if its average is higher and the difference survives Holm's correction over all compared merges; the
    mixture wins if it beats every merge in that sense; anything else is a tie.

    Args:
        relative: Scores of the mixture, the merges and the specialists.
        mixture: Subject fine-tuned on the mixed data.
        merges: method -> subject.
        level: Coverage; 1 - level is also the corrected significance level.
        resamples: Bootstrap draws.
        seed: Seed of the draws.

    Raises:
        UserError: There is no merge, or the mixture or a merge has no scores.
    """
    absent = [subject for subject in (mixture, *merges.values()) if subject not in relative.subjects]
    if absent or not merges:
        raise UserError(first_differences("the verdict needs a mixture and at least one merge; no scores of", absent))
    comparisons = _compare(relative, mixture, merges, relative.drawn_averages(resamples, seed), level)
    winner, best = _winner_and_best(comparisons)
    return StudyVerdict(
        winner=winner,
        mixture=relative.averages[mixture].mean,
        best=best,
        comparisons=comparisons,
        left_out=relative.left_out,
        comparable=len(relative.left_out) < len(relative.metrics),
        level=level,
    )


def _winner_and_best(comparisons: Sequence[Comparison]) -> tuple[str, Comparison]:
    """The study's winner, and the comparison with the winning merge, or else with the highest-scoring merge."""
    winning = [comparison for comparison in comparisons if comparison.winner.startswith("merge:")]
    best = max(winning or comparisons, key=lambda comparison: comparison.average)
    beats_all = all(comparison.winner == MIX for comparison in comparisons)
    return best.winner if winning else MIX if beats_all else TIE, best


def _compare(
    relative: RelativeScores, mixture: str, merges: Mapping[str, str], drawn: Array, level: float
) -> tuple[Comparison, ...]:
    """The mixture against every merge; `drawn` holds the averages of each draw (rows) and subject (columns)."""
    drawn_of = dict(zip(relative.subjects, drawn.T, strict=True))
    averages = {subject: average.mean for subject, average in relative.averages.items()}
    differences = {
        method: Difference(
            relative.items,
            averages[mixture] - averages[subject],
            *_interval_and_p(drawn_of[mixture] - drawn_of[subject], level),
        )
        for method, subject in merges.items()
    }
    corrected = holm({method: difference.p for method, difference in differences.items()})
    return tuple(
        Comparison(
            method,
            averages[merges[method]],
            difference,
            corrected[method],
            _winner(method, difference, corrected[method], 1 - level),
        )
        for method, difference in differences.items()
    )


def _interval_and_p(draws: Array, level: float) -> tuple[float, float, float]:
    return *percentile_interval(draws, level), bootstrap_p(draws)


def _winner(method: str, difference: Difference, p_corrected: float, alpha: float) -> str:
    if difference.tie or p_corrected > alpha:
        return TIE
    return MIX if difference.difference > 0 else f"merge:{method}"
