"""Mix or merge: the study's average, the choice of coefficients, and the verdict with its interval.

The average of a model is the mean, over all metrics of all benchmarks, of its relative change against the specialist
of that benchmark's task (arXiv 2601.21115, column "Avg"); a fraction here, -0.05 for 5 % below.
Shapes: N items, S subjects, M metrics, R bootstrap draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from src.evaluation.scores import ItemScore, by_metric
from src.evaluation.statistics import Array, Difference, bootstrap_p, holm, percentile_interval, resampled_means
from src.utils.errors import UserError, first_differences
from src.utils.seeding import derive_seed

Scores = Mapping[str, Sequence[ItemScore]]  # benchmark -> item scores of one subject
MIX, TIE = "mix", "tie"


@dataclass(frozen=True)
class Average:
    """A subject against the specialists.

    Attributes:
        changes: (benchmark, metric) -> change against the task's specialist; -0.05 is 5 % below it.
        mean: The study's average: mean of `changes`.
    """

    changes: dict[tuple[str, str], float]
    mean: float


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
    sentence: str


class Panel:
    """Item scores of several subjects on the same items, as arrays.

    Args:
        scores: subject -> benchmark -> item scores.
        specialists: task -> subject.
        tasks: benchmark -> task.
        metrics: Metrics that enter the average; None: all.

    Raises:
        UserError: A subject misses a benchmark, metric or item that another has, a specialist is not among the
            subjects, or a specialist scores 0, which leaves its percentages undefined.
    """

    def __init__(
        self,
        scores: Mapping[str, Scores],
        specialists: Mapping[str, str],
        tasks: Mapping[str, str],
        metrics: Sequence[str] | None = None,
    ) -> None:
        self.subjects = list(scores)
        absent = [f"{task}: {subject}" for task, subject in specialists.items() if subject not in scores]
        absent += [f"no specialist of task {task}" for task in tasks.values() if task not in specialists]
        if absent:
            raise UserError(first_differences("the decision needs the scores of every specialist", absent))
        tables = {subject: _table(subject_scores, tasks, metrics) for subject, subject_scores in scores.items()}
        _check_alike(tables)
        first = tables[self.subjects[0]]
        self.keys = [(benchmark, metric) for benchmark, table in first.items() for metric in table]
        self.reference = [self.subjects.index(specialists[tasks[benchmark]]) for benchmark, _ in self.keys]
        self.values = {benchmark: _stack(benchmark, tables, self.subjects) for benchmark in first}
        zero = [f"{self.subjects[row]} in {metric} on {benchmark}" for (benchmark, metric), row in zip(
            self.keys, self.reference, strict=True) if self._mean(benchmark, metric, row) == 0]  # fmt: skip
        if zero:
            raise UserError(
                first_differences("a specialist that scores 0 leaves the change against it undefined", zero)
            )

    def averages(self) -> dict[str, Average]:
        """The study's average of each subject."""
        means = np.concatenate([cube.mean(0) for cube in self.values.values()], axis=1)
        changes = self._changes(means[None])[0]
        return {
            subject: Average(dict(zip(self.keys, map(float, row), strict=True)), float(row.mean()))
            for subject, row in zip(self.subjects, changes, strict=True)
        }

    def drawn_averages(self, resamples: int, seed: int) -> Array:
        """The averages of all subjects over items drawn with replacement within each benchmark.

        All subjects and metrics of a benchmark, the specialists included, see the same draw.

        Returns:
            R x S; draws in which a specialist scores 0 are left out.
        """
        drawn = []
        for benchmark, cube in self.values.items():  # N x S x M
            flat = resampled_means(cube.reshape(len(cube), -1), resamples, derive_seed(seed, "bootstrap", benchmark))
            drawn.append(flat.reshape(resamples, *cube.shape[1:]))
        with np.errstate(divide="ignore", invalid="ignore"):
            means = self._changes(np.concatenate(drawn, axis=2)).mean(2)
        return means[np.isfinite(means).all(1)]

    def items(self) -> int:
        """Items of all benchmarks together."""
        return sum(len(cube) for cube in self.values.values())

    def _changes(self, means_RSM: Array) -> Array:
        columns = np.arange(len(self.keys))
        reference_RM = means_RSM[:, self.reference, columns]
        changes: Array = means_RSM / reference_RM[:, None, :] - 1
        return changes

    def _mean(self, benchmark: str, metric: str, row: int) -> float:
        metrics = [name for place, name in self.keys if place == benchmark]
        return float(self.values[benchmark][:, row, metrics.index(metric)].mean())


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
    averages, drawn = panel.averages(), panel.drawn_averages(resamples, seed)
    if len(drawn) < 0.99 * resamples:
        raise UserError("a specialist scores 0 on most items of a benchmark; leave that metric out of the decision")
    differences = {}
    for method, subject in merges.items():
        draws = drawn[:, panel.subjects.index(mixture)] - drawn[:, panel.subjects.index(subject)]
        low, high = percentile_interval(draws, level)
        gap = averages[mixture].mean - averages[subject].mean
        differences[method] = Difference(panel.items(), gap, low, high, bootstrap_p(draws))
    corrected = holm({method: difference.p for method, difference in differences.items()})
    comparisons = tuple(
        Comparison(method, difference, corrected[method], _winner(method, difference, corrected[method], 1 - level))
        for method, difference in differences.items()
    )
    return _verdict(comparisons, averages, mixture, merges, level)


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
) -> Verdict:
    winning = [comparison for comparison in comparisons if comparison.winner.startswith("merge:")]
    best = max(winning or comparisons, key=lambda comparison: averages[merges[comparison.method]].mean)
    beats_all = all(comparison.winner == MIX for comparison in comparisons)
    winner = best.winner if winning else MIX if beats_all else TIE
    gap = best.difference
    sentence = _sentence(winner, best, averages[mixture].mean, averages[merges[best.method]].mean, comparisons, level)
    return Verdict(
        winner, best.method, gap.difference, gap.low, gap.high, best.p_corrected, averages, comparisons, sentence
    )


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
    compared = (
        f"Holm-corrected p = {best.p_corrected:.2g} over {len(comparisons)} merges"
        if len(comparisons) > 1
        else f"p = {best.p_corrected:.2g}"
    )
    return (
        f"{head} Against the specialists, averaged over all metrics, the mixture stands at {100 * mix:+.2f} %. {which} "
        f"({best.method}) stands at {100 * merge:+.2f} %. The mixture minus this merge is "
        f"{100 * gap.difference:+.2f} points, {level:.0%} interval {100 * gap.low:+.2f} to {100 * gap.high:+.2f} "
        f"over {gap.n} problems ({compared})."
    )


def _table(
    scores: Scores, tasks: Mapping[str, str], metrics: Sequence[str] | None
) -> dict[str, dict[str, dict[str, float]]]:
    """benchmark -> metric -> item -> value, benchmarks in the order of `tasks`."""
    tables = {benchmark: by_metric(scores[benchmark]) for benchmark in tasks if benchmark in scores}
    kept = {
        benchmark: {metric: items for metric, items in table.items() if metrics is None or metric in metrics}
        for benchmark, table in tables.items()
    }
    return {benchmark: table for benchmark, table in kept.items() if table}


def _check_alike(tables: Mapping[str, dict[str, dict[str, dict[str, float]]]]) -> None:
    cells = {
        subject: {
            (benchmark, metric, item)
            for benchmark, table in found.items()
            for metric in table
            for item in table[metric]
        }
        for subject, found in tables.items()
    }
    everything = set[tuple[str, str, str]]().union(*cells.values())
    missing = [
        f"{subject} lacks {metric} of {item} on {benchmark}"
        for subject, found in cells.items()
        for benchmark, metric, item in sorted(everything - found)
    ]
    if missing or not everything:
        raise UserError(
            first_differences("all models must be scored on the same items and metrics", missing or ["none"])
        )


def _stack(benchmark: str, tables: Mapping[str, dict[str, dict[str, dict[str, float]]]], subjects: list[str]) -> Array:
    """N x S x M."""
    first = tables[subjects[0]][benchmark]
    items = list(next(iter(first.values())))
    rows = [[[tables[subject][benchmark][metric][item] for metric in first] for subject in subjects] for item in items]
    return np.asarray(rows, dtype=np.float64)
