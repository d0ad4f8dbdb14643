"""Mix or merge: the choice of coefficients on validation data, and the verdict on test data with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from src.evaluation.statistics.averages import Average as Average
from src.evaluation.statistics.averages import Panel
from src.evaluation.statistics.averages import Scores as Scores
from src.evaluation.statistics.bootstrap import Array, Difference, bootstrap_p, holm, percentile_interval
from src.utils.errors import UserError, first_differences

MIX, TIE = "mix", "tie"
NOTHING = (
    "No verdict: the specialists score 0 in every metric, so that nothing can be compared with them. Train them longer."
)


@dataclass(frozen=True)
class Comparison:
    """The mixture against one merge.

    Attributes:
        method: The merge's name.
        difference: Mixture's average minus the merge's, a fraction, with interval and uncorrected p.
        p_corrected: Holm-corrected over the merges compared.
        winner: `"mix"`, `"merge:<method>"` or `"tie"`.
    """

    method: str
    difference: Difference
    p_corrected: float
    winner: str


@dataclass(frozen=True)
class Verdict:
    """The answer to the question.

    Attributes:
        winner: `"mix"`, `"merge:<method>"` or `"tie"`.
        method: The merge that the figures below compare the mixture with.
        difference: Mixture's average minus that merge's; 0.01 is one point of percent.
        low: Lower end of its interval.
        high: Upper end.
        p: Holm-corrected over the merges compared.
        averages: subject -> the study's average.
        comparisons: The mixture against every merge.
        left_out: (benchmark, metric) pairs in which the specialist scores 0; they are in no average.
        sentence: One paragraph for the report.
    """

    winner: str
    method: str
    difference: float
    low: float
    high: float
    p: float
    averages: dict[str, Average]
    comparisons: tuple[Comparison, ...]
    left_out: tuple[tuple[str, str], ...]
    sentence: str


def study_averages(
    scores: Mapping[str, Scores],
    specialists: Mapping[str, str],
    tasks: Mapping[str, str],
    metrics: Sequence[str] | None = None,
) -> dict[str, Average]:
    """The study's average of each subject; arguments and errors as for `Panel`."""
    return Panel(scores, specialists, tasks, metrics).averages()


def choose_point(
    scores: Mapping[str, Scores],
    points: Sequence[str],
    specialists: Mapping[str, str],
    tasks: Mapping[str, str],
    metrics: Sequence[str] | None = None,
) -> str:
    """The merge point with the highest average, on validation data.

    Args:
        scores: subject -> benchmark -> item scores; holds the points and the specialists.
        points: Subjects to choose from; of equal averages the first wins.
        specialists: task -> subject.
        tasks: benchmark -> task.
        metrics: Metrics that enter the average; None: all.

    Returns:
        One of `points`.

    Raises:
        UserError: As for `Panel`, or no points.
    """
    if not points:
        raise UserError("no merge points to choose from; check the grid of the study")
    averages = study_averages(scores, specialists, tasks, metrics)
    return max(points, key=lambda point: round(averages[point].mean, 12))  # max keeps the first of equals


def decide(
    scores: Mapping[str, Scores],
    mixture: str,
    merges: Mapping[str, str],
    specialists: Mapping[str, str],
    tasks: Mapping[str, str],
    metrics: Sequence[str] | None = None,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Verdict:
    """Mix or merge, on test data, for merges whose coefficients were chosen elsewhere.

    The interval is a percentile bootstrap over problems, drawn within each benchmark and jointly for all subjects.
    A merge wins if its average is higher and the difference survives Holm's correction over all merges compared; the
    mixture wins if it beats every merge in that sense; all else is a tie.

    Args:
        scores: subject -> benchmark -> item scores, all on the same items.
        mixture: Subject fine-tuned on the mixed data.
        merges: method -> subject.
        specialists: task -> subject.
        tasks: benchmark -> task.
        metrics: Metrics that enter the average; None: all.
        level: Coverage; 1 - level is the corrected significance level too.
        resamples: Bootstrap draws.
        seed: Of the draws.

    Raises:
        UserError: As for `Panel`, or there is no merge, or the mixture or a merge has no scores.
    """
    absent = [subject for subject in (mixture, *merges.values()) if subject not in scores]
    if absent or not merges:
        raise UserError(first_differences("the decision needs a mixture and at least one merge; no scores of", absent))
    panel = Panel(scores, specialists, tasks, metrics)
    comparisons = _compare(panel, mixture, merges, panel.drawn_averages(resamples, seed), level)
    return _verdict(comparisons, panel.averages(), mixture, merges, level, panel.left_out)


def _compare(
    panel: Panel, mixture: str, merges: Mapping[str, str], drawn: Array, level: float
) -> tuple[Comparison, ...]:
    """The mixture against every merge; `drawn` holds the averages of each draw (rows) and subject (columns)."""
    averages, drawn_of = panel.averages(), dict(zip(panel.subjects, drawn.T, strict=True))
    differences = {
        method: Difference(
            panel.items(),
            averages[mixture].mean - averages[subject].mean,
            *_interval_and_p(drawn_of[mixture] - drawn_of[subject], level),
        )
        for method, subject in merges.items()
    }
    corrected = holm({method: difference.p for method, difference in differences.items()})
    return tuple(
        Comparison(method, difference, corrected[method], _winner(method, difference, corrected[method], 1 - level))
        for method, difference in differences.items()
    )


def _interval_and_p(draws: Array, level: float) -> tuple[float, float, float]:
    return *percentile_interval(draws, level), bootstrap_p(draws)


def _winner(method: str, difference: Difference, p_corrected: float, alpha: float) -> str:
    if difference.tie or p_corrected > alpha:
        return TIE
    return MIX if difference.difference > 0 else f"merge:{method}"


def _verdict(
    comparisons: tuple[Comparison, ...],
    averages: dict[str, Average],
    mixture: str,
    merges: Mapping[str, str],
    level: float,
    left_out: tuple[tuple[str, str], ...],
) -> Verdict:
    winning = [comparison for comparison in comparisons if comparison.winner.startswith("merge:")]
    best = max(winning or comparisons, key=lambda comparison: averages[merges[comparison.method]].mean)
    beats_all = all(comparison.winner == MIX for comparison in comparisons)
    winner = best.winner if winning else MIX if beats_all else TIE
    gap = best.difference
    sentence = _sentence(winner, best, averages[mixture].mean, averages[merges[best.method]].mean, comparisons, level)
    if not averages[mixture].changes:
        sentence = NOTHING
    elif left_out:
        missing = ", ".join(f"{metric} on {benchmark}" for benchmark, metric in left_out)
        sentence += f" Not in the averages, since the specialist itself scores 0 there: {missing}."
    figures = (gap.difference, gap.low, gap.high, best.p_corrected)
    return Verdict(winner, best.method, *figures, averages, comparisons, left_out, sentence)


def _sentence(
    winner: str, best: Comparison, mix: float, merge: float, comparisons: tuple[Comparison, ...], level: float
) -> str:
    gap = best.difference
    head = {MIX: "Mix the data.", TIE: "No winner: the data do not tell mixing and merging apart."}.get(
        winner, f"Merge the specialists, with {best.method}."
    )
    which = "The winning merge" if winner.startswith("merge:") else "The best merge"
    if len(comparisons) == 1:
        which = "The merge"
    p = "p < 0.001" if best.p_corrected < 0.001 else f"p = {best.p_corrected:.2g}"
    compared = f"Holm-corrected {p} over {len(comparisons)} merges" if len(comparisons) > 1 else p
    return (
        f"{head} Against the specialists, averaged over the tasks and their metrics, the mixture stands at "
        f"{100 * mix:+.2f} %. {which} "
        f"({best.method}) stands at {100 * merge:+.2f} %. The mixture minus this merge is "
        f"{100 * gap.difference:+.2f} points, {level:.0%} interval {100 * gap.low:+.2f} to {100 * gap.high:+.2f} "
        f"over {gap.n} problems ({compared})."
    )
