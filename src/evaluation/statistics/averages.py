"""Item scores of several models on the same items, and their averages against the specialists.

The average of a model is the mean, over tasks and in each over the metrics of its benchmarks, of the relative change
against the specialist of the task; a fraction, -0.05 for 5 % below. With as many metrics a task it is the column "Avg"
of arXiv 2601.21115.
Shapes: N items, S subjects, M metrics, R bootstrap draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from src.evaluation.statistics.bootstrap import Array, resampled_means
from src.evaluation.statistics.scores import ItemScore, by_metric
from src.utils.errors import UserError, first_differences
from src.utils.seeding import derive_seed

Scores = Mapping[str, Sequence[ItemScore]]  # benchmark -> item scores of one subject
Table = dict[str, dict[str, dict[str, float]]]  # benchmark -> metric -> item -> value


@dataclass(frozen=True)
class Average:
    """A subject against the specialists.

    Attributes:
        changes: (benchmark, metric) -> change against the task's specialist; -0.05 is 5 % below it.
        mean: Mean over tasks of the mean change of a task's metrics, so that no task counts more for having more
            metrics. Where all have as many, as in the study, that is its average over all metrics.
    """

    changes: dict[tuple[str, str], float]
    mean: float


class Panel:
    """Item scores of several subjects on the same items, as arrays.

    Args:
        scores: subject -> benchmark -> item scores.
        specialists: task -> subject.
        tasks: benchmark -> task.
        metrics: Metrics that enter the average; None: all.

    Raises:
        UserError: A subject misses a benchmark, metric or item that another has, or a specialist is not among the
            subjects.

    Attributes:
        left_out: (benchmark, metric) pairs in which the specialist itself scores 0: a change against it is undefined.
            Where that is so of all of them, every average is 0.
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
        everything = [(benchmark, metric) for benchmark, table in tables[self.subjects[0]].items() for metric in table]
        reference = {benchmark: specialists[tasks[benchmark]] for benchmark, _ in everything}
        self.left_out = tuple(
            (benchmark, metric)
            for benchmark, metric in everything
            if not any(tables[reference[benchmark]][benchmark][metric].values())
        )
        self.keys = [key for key in everything if key not in self.left_out]
        self.reference = [self.subjects.index(reference[benchmark]) for benchmark, _ in self.keys]
        measured = [tasks[benchmark] for benchmark, _ in self.keys]
        self.shares = np.array([1 / (len(set(measured)) * measured.count(task)) for task in measured])
        self.values = {benchmark: self._stack(benchmark, tables) for benchmark in dict(self.keys)}

    def averages(self) -> dict[str, Average]:
        """The study's average of each subject."""
        if not self.keys:
            return {subject: Average({}, 0.0) for subject in self.subjects}
        means = np.concatenate([cube.mean(0) for cube in self.values.values()], axis=1)
        changes = self._changes(means[None])[0]
        return {
            subject: Average(dict(zip(self.keys, map(float, row), strict=True)), float(row @ self.shares))
            for subject, row in zip(self.subjects, changes, strict=True)
        }

    def drawn_averages(self, resamples: int, seed: int) -> Array:
        """The averages of all subjects over items drawn with replacement within each benchmark.

        All subjects and metrics of a benchmark, the specialists included, see the same draw.

        Returns:
            R x S; draws in which a specialist scores 0 are left out.
        """
        if not self.keys:
            return np.zeros((resamples, len(self.subjects)))
        drawn = []
        for benchmark, cube in self.values.items():  # N x S x M
            flat = resampled_means(cube.reshape(len(cube), -1), resamples, derive_seed(seed, "bootstrap", benchmark))
            drawn.append(flat.reshape(resamples, *cube.shape[1:]))
        with np.errstate(divide="ignore", invalid="ignore"):
            means = self._changes(np.concatenate(drawn, axis=2)) @ self.shares
        return means[np.isfinite(means).all(1)]

    def items(self) -> int:
        """Items of all benchmarks together."""
        return sum(len(cube) for cube in self.values.values())

    def _changes(self, means_RSM: Array) -> Array:
        columns = np.arange(len(self.keys))
        reference_RM = means_RSM[:, self.reference, columns]
        changes: Array = means_RSM / reference_RM[:, None, :] - 1
        return changes

    def _stack(self, benchmark: str, tables: Mapping[str, Table]) -> Array:
        """N x S x M, for the metrics of one benchmark."""
        metrics = [metric for place, metric in self.keys if place == benchmark]
        items = tables[self.subjects[0]][benchmark][metrics[0]]
        rows = [
            [[tables[subject][benchmark][metric][item] for metric in metrics] for subject in self.subjects]
            for item in items
        ]
        return np.asarray(rows, dtype=np.float64)


def _table(scores: Scores, tasks: Mapping[str, str], metrics: Sequence[str] | None) -> Table:
    """benchmark -> metric -> item -> value, benchmarks in the order of `tasks`."""
    tables = {benchmark: by_metric(scores[benchmark]) for benchmark in tasks if benchmark in scores}
    kept = {
        benchmark: {metric: items for metric, items in table.items() if metrics is None or metric in metrics}
        for benchmark, table in tables.items()
    }
    return {benchmark: table for benchmark, table in kept.items() if table}


def _check_alike(tables: Mapping[str, Table]) -> None:
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
