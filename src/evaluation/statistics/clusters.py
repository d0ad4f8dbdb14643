"""Bootstrap over clusters, for items that resemble each other, such as functions of one repository.

Shapes: N items, G clusters, C columns, R bootstrap draws.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from src.evaluation.statistics.bootstrap import (
    Array,
    Difference,
    Interval,
    bootstrap_p,
    is_proportion,
    mean_interval,
    paired_bootstrap,
    percentile_interval,
    resampled_means,
    wilson_interval,
)
from src.utils.errors import UserError


def cluster_interval(
    values: Sequence[float], clusters: Sequence[Hashable], level: float = 0.95, resamples: int = 10_000, seed: int = 0
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
    return drawn_interval(column, count, resampled_cluster_means(column, clusters, resamples, seed)[:, 0], level)


def drawn_interval(values: Array, clusters: int, draws: Array, level: float) -> Interval:
    """Interval of a mean whose draws are known; see `cluster_interval`.

    Args:
        values: N.
        clusters: Number of clusters.
        draws: R means over drawn clusters.
        level: Coverage.
    """
    mean = float(values.mean())
    if is_proportion(values) and (clusters == len(values) or mean in (0, 1)):
        return Interval(len(values), mean, *wilson_interval(round(mean * clusters), clusters, level))
    return Interval(len(values), mean, *percentile_interval(draws, level))


def cluster_difference(
    first: Sequence[float],
    second: Sequence[float],
    clusters: Sequence[Hashable],
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Difference:
    """Difference of two means over the same items: paired bootstrap that draws whole clusters.

    If every cluster has one item, it is that of `paired_bootstrap`.

    Args:
        first: One value per item.
        second: The same items in the same order.
        clusters: The cluster of each item.
        level: Coverage, e.g. 0.95.
        resamples: Bootstrap draws.
        seed: Seed of the draws.

    Returns:
        `n` is the number of items, not of clusters.

    Raises:
        UserError: No items, or different numbers of them.
    """
    if len(set(clusters)) == len(first):
        return paired_bootstrap(first, second, level, resamples, seed)
    column = np.subtract(first, second, dtype=np.float64).reshape(-1, 1)
    draws = resampled_cluster_means(column, clusters, resamples, seed)[:, 0]
    return Difference(len(column), float(column.mean()), *percentile_interval(draws, level), bootstrap_p(draws))


def resampled_cluster_means(values: Array, clusters: Sequence[Hashable], resamples: int, seed: int) -> Array:
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


def cluster_sums(values: Array, clusters: Sequence[Hashable]) -> Array:
    """Sum items by cluster: N x C to G x C, clusters in order of appearance."""
    places = {name: place for place, name in enumerate(dict.fromkeys(clusters))}
    sums = np.zeros((len(places), values.shape[1]))
    np.add.at(sums, [places[name] for name in clusters], values)
    return sums
