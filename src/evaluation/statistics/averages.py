"""The average of a study: scores of several models on the same items, relative to each task's specialist.

The average of a model is the mean over tasks of each task's mean relative change against its specialist, taken over the
metrics of the task's benchmarks. It is a fraction: -0.05 is 5% below. pass@k and pass@k+ of a benchmark measure the
same programs, so the two count as one metric, half each. Where every benchmark of programs has both and all tasks have
the same number of metrics, the average is the column "Avg" of arXiv 2601.21115. Verdict, tables, figures, captions and
logs print the values computed here.

Specialists, mixture and merges may have been trained with several seeds. Each training seed has specialists of its own,
to which its other models are relative; the average is the mean over training seeds.

A merge with random masks is scored once per mask seed. Its mask seeds are pooled: each item counts with its mean score
over them.

Shapes: X mask seeds, T training seeds, N items, S subjects, M metrics of a benchmark, K metrics of all benchmarks,
R bootstrap draws.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from src.evaluation.statistics.bootstrap import (
    Array,
    Interval,
)
from src.evaluation.statistics.clusters import drawn_interval
from src.evaluation.statistics.score_arrays import ScoreArrays, metric_shares
from src.evaluation.statistics.scores import LOSSES, Clusters, Metric, Score, by_metric
from src.utils.errors import UserError, first_differences
from src.utils.seeding import derive_seed

Runs = Sequence[Sequence[Score]]  # the scores of one subject after one training seed, once per mask seed
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
        scores: subject -> training seed, in one order for all subjects -> mask seed -> item scores. Models of the same
            place were trained with the same seed.
        specialists: task -> subject.
        tasks: benchmark -> task; other benchmarks are ignored.
        metrics: The metrics of the study, over which the average is taken; None: all but losses, which never enter.
        also: Further metrics whose means are kept for figures; they are not part of the average.

    Raises:
        UserError: A subject misses a training seed, benchmark, metric or item that another has, a specialist is not
            among the subjects, or an item is in two clusters.

    Attributes:
        subjects: Names, in order.
        training_seeds: Number of training seeds.
        seeds: subject -> number of mask seeds that are pooled.
        metrics: (benchmark, metric) pairs of the study, in the order of `tasks`.
        measured: The same plus those of `also`; `means` has all of them.
        left_out: Metrics on which the task's specialist of a training seed scores 0: a change against it is undefined,
            so they are not part of the average. If all are left out, every average is 0.
        arrays: The scores, mask seeds pooled.
        clusters: benchmark -> number of clusters, for benchmarks whose items come in clusters: intervals draw these.
    """

    def __init__(
        self,
        scores: Mapping[str, Sequence[Runs]],
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
        tables = {
            name: [[_table(run, self.tasks, wanted) for run in runs] for runs in seeds]
            for name, seeds in scores.items()
        }
        self.training_seeds = _check_alike(tables)
        self.seeds = {name: len(seeds[0]) for name, seeds in tables.items()}
        self.measured: tuple[Metric, ...] = tuple(tables[self.subjects[0]][0][0])
        self.metrics = tuple(key for key in self.measured if metrics is None or key[1] in metrics)
        references = [self.subjects.index(specialists[self.tasks[benchmark]]) for benchmark, _ in self.measured]
        self._runs = {name: self._of(name, tables) for name in dict(self.measured)}
        cubes = tuple(np.stack([runs.mean(axis=0) for runs in found], axis=2) for found in self._runs.values())
        own_TK = np.concatenate([cube.mean(axis=1) for cube in cubes], axis=2)[:, references, range(len(references))]
        self._kept = [k for k, key in enumerate(self.measured) if key in self.metrics and own_TK[:, k].all()]
        kept = [self.measured[k] for k in self._kept]
        self.left_out = tuple(key for key in self.metrics if key not in kept)
        shares = np.zeros(len(self.measured))
        shares[self._kept] = metric_shares([self.tasks[name] for name, _ in kept], [_group(key) for key in kept])
        named = _clusters(scores, tables[self.subjects[0]][0][0])
        self.clusters = {name: len(set(found)) for name, found in named.items()}
        places = {place: named[name] for place, name in enumerate(self._runs) if name in named}
        self.arrays = ScoreArrays(cubes, np.array(references), shares, places)

    @cached_property
    def averages(self) -> dict[str, Average]:
        """The average of every subject."""
        means_TSK = self.arrays.means()
        changes_SK = self.arrays.changes(means_TSK).mean(axis=0)
        kept = [self.measured[k] for k in self._kept]
        return {
            subject: Average(dict(zip(kept, map(float, row[self._kept]), strict=True)), float(average))
            for subject, row, average in zip(self.subjects, changes_SK, self.arrays.averages(means_TSK), strict=True)
        }

    @cached_property
    def means(self) -> dict[str, dict[Metric, Interval]]:
        """subject -> (benchmark, metric) -> mean over items and training seeds, with its 95% interval over items.

        The interval is Wilson's where every item counts 0 or 1, else the percentile bootstrap's, as in
        `cluster_interval`.
        """
        drawn_RSK = self.arrays.drawn_means(10_000, [0] * len(self._runs)).mean(axis=1)
        columns = [cube[..., m].mean(axis=0) for cube in self.arrays.values for m in range(cube.shape[3])]  # K of N x S
        counts = [self.clusters.get(name, len(columns[k])) for k, (name, _) in enumerate(self.measured)]
        return {
            subject: {
                metric: drawn_interval(columns[k][:, s], counts[k], drawn_RSK[:, s, k], level=0.95)
                for k, metric in enumerate(self.measured)
            }
            for s, subject in enumerate(self.subjects)
        }

    def seed_averages(self, subject: str) -> list[float]:
        """The average of each mask seed, over training seeds; their mean is the subject's average."""
        place, means_TSK = self.subjects.index(subject), self.arrays.means()
        found = []
        for number in range(self.seeds[subject]):
            cubes = [found[place][number] for found in self._runs.values()]  # T x N x M each
            means_TSK[:, place] = np.concatenate([cube.mean(axis=1) for cube in cubes], axis=1)
            found.append(float(self.arrays.averages(means_TSK)[place]))
        return found

    def training_averages(self, subject: str) -> list[float]:
        """The average after each training seed; their mean is the subject's average."""
        place, means_TSK = self.subjects.index(subject), self.arrays.means()
        return [float(self.arrays.averages(means_TSK[t : t + 1])[place]) for t in range(self.training_seeds)]

    def runs(self) -> ScoreArrays:
        """The scores run by run: after each training seed, or with a single one, after each mask seed.

        A subject with fewer mask seeds than another is repeated.
        """
        if self.training_seeds > 1:
            return self.arrays
        most = max(self.seeds.values())
        cubes = []
        for found in self._runs.values():
            same = [runs if len(runs) == most else np.repeat(runs.mean(0, keepdims=True), most, 0) for runs in found]
            cubes.append(np.stack([runs[:, 0] for runs in same], axis=2))
        return replace(self.arrays, values=tuple(cubes))

    def drawn_means(self, resamples: int, seed: int) -> Array:
        """R x T x S x K: means over items, or clusters of items, drawn with replacement within each benchmark.

        All training seeds, subjects and metrics of a benchmark, the specialists included, see the same draw.
        """
        return self.arrays.drawn_means(resamples, [derive_seed(seed, "bootstrap", name) for name in self._runs])

    def drawn_averages(self, resamples: int, seed: int) -> Array:
        """The averages of all subjects over items drawn with replacement (see `drawn_means`).

        Returns:
            R x S; draws in which a specialist scores 0 are left out.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            averages_RS = self.arrays.averages(self.drawn_means(resamples, seed))
        return averages_RS[np.isfinite(averages_RS).all(axis=1)]

    @property
    def items(self) -> int:
        """Number of items of all benchmarks that enter the average."""
        return self.arrays.items

    def _of(self, benchmark: str, tables: Mapping[str, Sequence[Sequence[Table]]]) -> list[Array]:
        """X x T x N x M per subject for one benchmark, X mask seeds."""
        keys = [key for key in self.measured if key[0] == benchmark]
        items = list(tables[self.subjects[0]][0][0][keys[0]])
        found = [
            [[[[run[key][item] for key in keys] for item in items] for run in runs] for runs in seeds]
            for seeds in tables.values()
        ]
        return [np.swapaxes(np.array(values, dtype=np.float64), 0, 1) for values in found]


def _group(key: Metric) -> str:
    """pass@k and pass@k+ of a benchmark are one group; any other metric is its own."""
    benchmark, metric = key
    return f"{benchmark} {metric.removesuffix('+') if metric.startswith('pass@') else metric}"


def _clusters(scores: Mapping[str, Sequence[Runs]], table: Table) -> dict[str, list[Hashable]]:
    """benchmark -> the cluster of each item, for benchmarks of the table whose items come in clusters."""
    known = Clusters(score for seeds in scores.values() for runs in seeds for run in runs for score in run)
    found = {name: known.of(name, items) for (name, _), items in table.items()}
    return {name: clusters for name, clusters in found.items() if len(set(clusters)) < len(clusters)}


def _table(scores: Sequence[Score], tasks: Mapping[str, str], metrics: Collection[str] | None) -> Table:
    """The wanted metrics of one run, benchmarks in the order of `tasks`."""
    found = by_metric(s for s in scores if s.metric not in LOSSES and (metrics is None or s.metric in metrics))
    return {key: items for name in tasks for key, items in found.items() if key[0] == name}


def _check_alike(tables: Mapping[str, Sequence[Sequence[Table]]]) -> int:
    """Refuse subjects scored on other training seeds, items or metrics than the rest; return the number of seeds."""
    everything: dict[Metric, dict[str, None]] = {}
    for run in (run for seeds in tables.values() for runs in seeds for run in runs):
        for key, items in run.items():
            everything.setdefault(key, {}).update(dict.fromkeys(items))
    missing = [
        f"{subject} lacks {metric} of {item} on {benchmark}"
        for subject, seeds in tables.items()
        for runs in seeds
        for run in runs
        for (benchmark, metric), items in everything.items()
        for item in items
        if item not in run.get((benchmark, metric), ())
    ]
    if missing or not everything:
        raise UserError(
            first_differences("all models must be scored on the same items and metrics", missing or ["none"])
        )
    count = max(len(seeds) for seeds in tables.values())
    missing = [f"{subject} has {len(seeds)} of {count}" for subject, seeds in tables.items() if len(seeds) != count]
    missing += [
        f"{subject} has {sorted({len(runs) for runs in seeds})} mask seeds"
        for subject, seeds in tables.items()
        if len({len(runs) for runs in seeds}) > 1
    ]
    if missing:
        raise UserError(first_differences("all models must be scored after the same training seeds", missing))
    return count
