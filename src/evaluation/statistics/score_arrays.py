"""Scores of several subjects as arrays, and their averages relative to the specialists.

Shapes: T training seeds, N items of a benchmark, G their clusters, S subjects, M metrics of a benchmark, K metrics of
all benchmarks, R bootstrap draws.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from src.evaluation.statistics.bootstrap import Array, resampled_means
from src.evaluation.statistics.clusters import cluster_sums, resampled_cluster_means


@dataclass(frozen=True, eq=False)
class ScoreArrays:
    """Scores of the same subjects on the same items after each training seed.

    Attributes:
        values: T x N x S x M per benchmark, as fractions.
        references: K: the subject that each metric is relative to, the specialist of its task.
        shares: K: weight of each metric in the average; they sum to 1, or to 0 if nothing can be compared.
        clusters: The cluster of each item, per benchmark (by its place) whose items come in clusters.
    """

    values: tuple[Array, ...]
    references: NDArray[np.intp]
    shares: Array
    clusters: Mapping[int, Sequence[Hashable]] = field(default_factory=dict)

    @property
    def items(self) -> int:
        """Number of items of the benchmarks that enter the average."""
        return sum(cube.shape[1] for cube, place in self.benchmarks() if self.shares[place].any())

    def benchmarks(self) -> list[tuple[Array, slice]]:
        """T x N x S x M of each benchmark, and its places among the K metrics."""
        ends = np.cumsum([0, *(cube.shape[3] for cube in self.values)]).tolist()
        return [(cube, slice(*ends[place : place + 2])) for place, cube in enumerate(self.values)]

    def means(self) -> Array:
        """T x S x K: means over the items."""
        return np.concatenate([cube.mean(axis=1) for cube in self.values], axis=2)

    def drawn_means(self, resamples: int, seeds: Sequence[int]) -> Array:
        """R x T x S x K: means over items or clusters drawn with replacement, jointly for all subjects.

        Args:
            resamples: R.
            seeds: Seed of the draws, per benchmark.
        """
        drawn = []
        for place, (cube, seed) in enumerate(zip(self.values, seeds, strict=True)):
            flat_NC = np.moveaxis(cube, 1, 0).reshape(cube.shape[1], -1)
            shape = (resamples, cube.shape[0], *cube.shape[2:])
            if clusters := self.clusters.get(place):
                drawn.append(resampled_cluster_means(flat_NC, clusters, resamples, seed).reshape(shape))
            else:
                drawn.append(resampled_means(flat_NC, resamples, seed).reshape(shape))
        return np.concatenate(drawn, axis=3)

    def by_cluster(self, place: int, influences_TN: Array) -> Array:
        """T x G: influences of clusters on an estimate, from those of the items; both have the estimate as their mean.

        Args:
            place: Of the benchmark.
            influences_TN: Of the items, with mean 0; returned as they are where items stand alone.
        """
        if place not in self.clusters:
            return influences_TN
        sums_GT = cluster_sums(influences_TN.T, self.clusters[place])
        influences_TG: Array = sums_GT.T * len(sums_GT) / influences_TN.shape[1]
        return influences_TG

    def changes(self, means_xTSK: Array) -> Array:
        """x T S K: relative changes against the specialists of the same training seed; nan for metrics without share.

        Args:
            means_xTSK: Means over items, with any leading axes.
        """
        kept = np.flatnonzero(self.shares)
        changes = np.full_like(means_xTSK, np.nan)
        reference_xTK = means_xTSK[..., self.references[kept], kept]
        changes[..., kept] = means_xTSK[..., kept] / reference_xTK[..., None, :] - 1
        return changes

    def averages(self, means_xTSK: Array) -> Array:
        """x S: averages of the changes over the metrics, by share, and over the training seeds."""
        kept = np.flatnonzero(self.shares)
        by_seed_xTS = self.changes(means_xTSK)[..., kept] @ self.shares[kept]
        averages: Array = by_seed_xTS.mean(axis=-2)
        return averages


def metric_shares(tasks: Sequence[str], groups: Sequence[str]) -> Array:
    """K: weights of metrics in an average in which tasks count alike, and within a task the groups of metrics.

    Args:
        tasks: K: task of each metric.
        groups: K: metrics of one group count as one, e.g. pass@1 and pass@1+ of a benchmark.
    """
    places = list(zip(tasks, groups, strict=True))
    found = dict.fromkeys(places)
    per_task = {task: sum(other == task for other, _ in found) for task in tasks}
    return np.array([1 / (len(per_task) * per_task[task] * places.count((task, group))) for task, group in places])
