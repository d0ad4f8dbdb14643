"""The average of a study: scores of several models on the same items, relative to each task's specialist.

The average of a model is the mean over tasks of each task's mean relative change against its specialist, taken over the
metrics of the task's benchmarks. It is a fraction: -0.05 is 5% below. If all tasks have the same number of metrics, it
is the column "Avg" of arXiv 2601.21115. Verdict, tables, figures, captions and logs print the values computed here.

A merge with random masks is scored once per mask seed. Its seeds are pooled: each item counts with its mean score over
the seeds, for the average and for every interval. The intervals cover the choice of items, given these seeds; three
seeds are too few to resample, so their spread is reported next to the interval (`seed_averages`), not as part of it.

Shapes: N items, S subjects, M metrics of a benchmark, K metrics of all benchmarks, R bootstrap draws.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

import numpy as np

from src.evaluation.statistics.bootstrap import (
    Array,
    Interval,
    is_proportion,
    percentile_interval,
    resampled_means,
    wilson_interval,
)
from src.evaluation.statistics.scores import LOSSES, Metric, Score, by_metric
from src.utils.errors import UserError, first_differences
from src.utils.seeding import derive_seed

Runs = Sequence[Sequence[Score]]  # the scores of one subject, once per mask seed
Table = dict[Metric, dict[str, float]]  # (benchmark, metric) -> item -> value


@dataclass(frozen=True)
class Average:
    """A subject relative to the specialists.

    Attributes:
        changes: (benchmark, metric) -> change against the task's specialist; -0.05 is 5% below it.
        mean: Mean over tasks of the mean change of a task's metrics, so that no task counts more for having more
            metrics.
    """

    changes: dict[Metric, float]
    mean: float


class RelativeScores:
    """Scores of several subjects on the same items, relative to the specialists.

    Args:
        scores: subject -> its scores, one sequence per mask seed.
        specialists: task -> subject.
        tasks: benchmark -> task; other benchmarks are ignored.
        metrics: The metrics of the study, over which the average is taken; None: all but losses, which never enter.
        also: Further metrics whose means are kept for figures; they are not part of the average.

    Raises:
        UserError: A subject misses a benchmark, metric or item that another has, or a specialist is not among the
            subjects.

    Attributes:
        subjects: Names, in order.
        seeds: subject -> number of mask seeds that are pooled.
        metrics: (benchmark, metric) pairs of the study, in the order of `tasks`.
        measured: The same plus those of `also`; `means` has all of them.
        left_out: Metrics on which the task's specialist scores 0: a change against it is undefined, so they are not
            part of the average. If all are left out, every average is 0.
    """

    def __init__(
        self,
        scores: Mapping[str, Runs],
        specialists: Mapping[str, str],
        tasks: Mapping[str, str],
        metrics: Sequence[str] | None = None,
        also: Collection[str] = (),
    ) -> None:
        self.subjects, self.tasks = list(scores), dict(tasks)
        absent = [f"{task}: {subject}" for task, subject in specialists.items() if subject not in scores]
        absent += [f"no specialist of task {task}" for task in self.tasks.values() if task not in specialists]
        if absent:
            raise UserError(first_differences("the verdict needs the scores of every specialist; missing", absent))
        wanted = None if metrics is None else {*metrics, *also}
        tables = {name: [_table(run, self.tasks, wanted) for run in runs] for name, runs in scores.items()}
        _check_alike(tables)
        self.seeds = {name: len(runs) for name, runs in tables.items()}
        self.measured: tuple[Metric, ...] = tuple(tables[self.subjects[0]][0])
        self.metrics = tuple(key for key in self.measured if metrics is None or key[1] in metrics)
        self._references = [self.subjects.index(specialists[self.tasks[benchmark]]) for benchmark, _ in self.measured]
        self._cubes = {name: self._cube(name, tables) for name in dict(self.measured)}
        self._means_SK = np.concatenate([cube.mean(0) for cube in self._cubes.values()], axis=1)
        self._kept = [
            k
            for k, (key, specialist) in enumerate(zip(self.measured, self._references, strict=True))
            if key in self.metrics and self._means_SK[specialist, k] != 0
        ]
        kept = [self.measured[k] for k in self._kept]
        self.left_out = tuple(key for key in self.metrics if key not in kept)
        compared = [self.tasks[benchmark] for benchmark, _ in kept]
        self._shares = np.array([1 / (len(set(compared)) * compared.count(task)) for task in compared])
        self._runs = {
            name: np.array([[fmean(run[key].values()) for key in self.measured] for run in runs])
            for name, runs in tables.items()
            if len(runs) > 1
        }

    @cached_property
    def averages(self) -> dict[str, Average]:
        """The average of every subject."""
        changes_SK = self._changes(self._means_SK[None])[0]
        kept = [self.measured[k] for k in self._kept]
        return {
            subject: Average(dict(zip(kept, map(float, row), strict=True)), float(row @ self._shares))
            for subject, row in zip(self.subjects, changes_SK, strict=True)
        }

    @cached_property
    def means(self) -> dict[str, dict[Metric, Interval]]:
        """subject -> (benchmark, metric) -> mean over the items, with its 95% interval (see `mean_interval`)."""
        drawn_RSK = self._drawn_means(10_000, dict.fromkeys(self._cubes, 0))
        columns = [cube[:, :, m] for cube in self._cubes.values() for m in range(cube.shape[2])]  # K of N x S
        return {
            subject: {metric: _interval(columns[k][:, s], drawn_RSK[:, s, k]) for k, metric in enumerate(self.measured)}
            for s, subject in enumerate(self.subjects)
        }

    def seed_averages(self, subject: str) -> list[float]:
        """The average of each mask seed; their mean is the subject's average."""
        if subject not in self._runs:
            return [self.averages[subject].mean]
        means_SK = np.repeat(self._means_SK[None], self.seeds[subject], axis=0)
        place = self.subjects.index(subject)
        means_SK[:, place] = self._runs[subject]
        return [float(value) for value in self._changes(means_SK)[:, place] @ self._shares]

    def drawn_averages(self, resamples: int, seed: int) -> Array:
        """The averages of all subjects over items drawn with replacement within each benchmark.

        All subjects and metrics of a benchmark, the specialists included, see the same draw.

        Returns:
            R x S; draws in which a specialist scores 0 are left out.
        """
        if not self._kept:
            return np.zeros((resamples, len(self.subjects)))
        seeds = {benchmark: derive_seed(seed, "bootstrap", benchmark) for benchmark in self._cubes}
        with np.errstate(divide="ignore", invalid="ignore"):
            means = self._changes(self._drawn_means(resamples, seeds)) @ self._shares
        return means[np.isfinite(means).all(1)]

    @property
    def items(self) -> int:
        """Number of items of all benchmarks that enter the average."""
        kept = {self.measured[k][0] for k in self._kept}
        return sum(len(cube) for benchmark, cube in self._cubes.items() if benchmark in kept)

    def _drawn_means(self, resamples: int, seeds: Mapping[str, int]) -> Array:
        """R x S x K: means over items drawn with replacement, with a seed per benchmark."""
        drawn = []
        for benchmark, cube in self._cubes.items():
            flat = resampled_means(cube.reshape(len(cube), -1), resamples, seeds[benchmark])
            drawn.append(flat.reshape(resamples, *cube.shape[1:]))
        return np.concatenate(drawn, axis=2)

    def _changes(self, means_RSK: Array) -> Array:
        """Relative changes in the metrics that are not left out."""
        references = [self._references[k] for k in self._kept]
        reference_RK = means_RSK[:, references, self._kept]
        changes: Array = means_RSK[:, :, self._kept] / reference_RK[:, None, :] - 1
        return changes

    def _metrics_of(self, benchmark: str) -> list[str]:
        return [metric for name, metric in self.measured if name == benchmark]

    def _cube(self, benchmark: str, tables: Mapping[str, Sequence[Table]]) -> Array:
        """N x S x M for one benchmark, mask seeds pooled item by item."""
        keys = [(benchmark, metric) for metric in self._metrics_of(benchmark)]
        items = tables[self.subjects[0]][0][keys[0]]
        pooled = [
            np.mean([[[run[key][item] for key in keys] for item in items] for run in runs], axis=0, dtype=np.float64)
            for runs in tables.values()
        ]
        return np.stack(pooled, axis=1)


def _interval(values_N: Array, drawn_R: Array) -> Interval:
    count, mean = len(values_N), float(values_N.mean())
    if is_proportion(values_N):
        return Interval(count, mean, *wilson_interval(int(values_N.sum()), count, level=0.95))
    return Interval(count, mean, *percentile_interval(drawn_R, level=0.95))


def _table(scores: Sequence[Score], tasks: Mapping[str, str], metrics: Collection[str] | None) -> Table:
    """The wanted metrics of one run, benchmarks in the order of `tasks`."""
    found = by_metric(s for s in scores if s.metric not in LOSSES and (metrics is None or s.metric in metrics))
    return {key: items for name in tasks for key, items in found.items() if key[0] == name}


def _check_alike(tables: Mapping[str, Sequence[Table]]) -> None:
    everything: dict[Metric, dict[str, None]] = {}
    for runs in tables.values():
        for run in runs:
            for key, items in run.items():
                everything.setdefault(key, {}).update(dict.fromkeys(items))
    missing = [
        f"{subject} lacks {metric} of {item} on {benchmark}"
        for subject, runs in tables.items()
        for run in runs
        for (benchmark, metric), items in everything.items()
        for item in items
        if item not in run.get((benchmark, metric), ())
    ]
    if missing or not everything:
        raise UserError(
            first_differences("all models must be scored on the same items and metrics", missing or ["none"])
        )
