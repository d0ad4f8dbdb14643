"""Bootstrap over clusters, for items that resemble each other, such as functions of one repository.

Shapes: N items, G clusters, C columns, R bootstrap draws.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from src.evaluation.statistics.bootstrap import (
    Array,
    Interval,
    is_proportion,
    mean_interval,
    percentile_interval,
    resampled_means,
)
from src.utils.errors import UserError


def cluster_interval(
    values: Sequence[float], clusters: Sequence[str], level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Interval of a mean over items: percentile bootstrap that draws whole clusters.

    If every cluster has one item, it is that of `mean_interval`. If all values are 0 or all are 1, there is nothing to
    draw: Wilson's interval, with as many items as clusters.

    Args:
        values: One value per item.
        clusters: The cluster of each item.
        level: Coverage, e.g. 0.95.
        resamples: Bootstrap draws.
        seed: Seed of the draws.

    Returns:
        `n` is the number of items, not of clusters.

    Raises:
        UserError: No items, or not one cluster per item.
    """
    if len(clusters) != len(values):
        raise UserError(f"expected one cluster per item, got {len(clusters)} and {len(values)}")
    column, count = np.asarray(values, dtype=np.float64).reshape(-1, 1), len(set(clusters))
    if count == len(values):  # also without any items, which is an error there
        return mean_interval(values, level, resamples, seed)
    if is_proportion(column) and len(set(values)) == 1:
        few = mean_interval([values[0]] * count, level)
        return Interval(len(column), few.mean, few.low, few.high)
    draws = resampled_cluster_means(column, clusters, resamples, seed)[:, 0]
    return Interval(len(column), float(column.mean()), *percentile_interval(draws, level))


def resampled_cluster_means(values: Array, clusters: Sequence[str], resamples: int, seed: int) -> Array:
    """Means over the items of clusters drawn with replacement, the same draw for all columns.

    Args:
        values: N x C, one column per quantity that is measured on the items.
        clusters: The cluster of each item.
        resamples: R.
        seed: Seed of the draws; equal to `resampled_means` if every cluster has one item.

    Returns:
        R x C: sums over the drawn clusters, divided by their numbers of items.
    """
    sums = resampled_means(cluster_sums(np.column_stack([values, np.ones(len(values))]), clusters), resamples, seed)
    means: Array = sums[:, :-1] / sums[:, -1:]
    return means


def cluster_sums(values: Array, clusters: Sequence[str]) -> Array:
    """Sum items by cluster: N x C to G x C, clusters in order of appearance."""
    places = {name: place for place, name in enumerate(dict.fromkeys(clusters))}
    sums = np.zeros((len(places), values.shape[1]))
    np.add.at(sums, [places[name] for name in clusters], values)
    return sums
