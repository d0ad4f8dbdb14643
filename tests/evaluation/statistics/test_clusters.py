"""Bootstrap over clusters: by hand, against the bootstrap over items, and its coverage by simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from src.evaluation.statistics.bootstrap import (
    Interval,
    bootstrap_interval,
    mean_interval,
    paired_bootstrap,
    resampled_means,
    wilson_interval,
)
from src.evaluation.statistics.clusters import (
    cluster_difference,
    cluster_interval,
    cluster_sums,
    drawn_interval,
    resampled_cluster_means,
)
from src.utils.errors import UserError

VALUES = np.random.default_rng(0).random(40)


def test_one_item_per_cluster_is_the_bootstrap_over_items() -> None:
    names = [f"repository {n}" for n in range(40)]
    assert cluster_interval(VALUES.tolist(), names) == bootstrap_interval(VALUES.tolist())
    columns = np.column_stack([VALUES, VALUES**2])
    assert np.array_equal(resampled_cluster_means(columns, names, 100, 3), resampled_means(columns, 100, 3))
    zeros_and_ones = [float(n % 3 == 0) for n in range(40)]
    assert cluster_interval(zeros_and_ones, names) == mean_interval(zeros_and_ones)


def test_the_draws_are_means_of_whole_clusters() -> None:
    """Clusters {1, 2, 6} and {11}: drawn twice each or once each, so 3, 11 or 20/4."""
    values = np.array([[1.0], [2.0], [11.0], [6.0]])
    draws = resampled_cluster_means(values, ["a", "a", "b", "a"], 4000, 0)[:, 0]
    found, counts = np.unique(draws, return_counts=True)
    assert found.tolist() == [3, 5, 11]
    assert counts / 4000 == pytest.approx([0.25, 0.5, 0.25], abs=0.03)
    assert cluster_sums(values, ["a", "a", "b", "a"]).tolist() == [[9], [11]]
    interval = cluster_interval([1, 2, 11, 6], ["a", "a", "b", "a"])
    assert (interval.n, interval.mean, interval.low, interval.high) == (4, 5, 3, 11)


def test_differences_by_enumeration() -> None:
    """Three clusters, all 27 draws: means of 0.5, -1 and 3, weighted by 1, 2 and 3 items; p is the share at most 0."""
    first, second, clusters = [1.5, 0, 1, 4, 5, 6], [1, 1, 2, 1, 2, 3], list("abbccc")
    sums, sizes = np.array([0.5, -2, 9]), np.array([1, 2, 3])
    draws = [sums[list(one)].sum() / sizes[list(one)].sum() for one in itertools.product(range(3), repeat=3)]
    found = cluster_difference(first, second, clusters, level=0.6, resamples=20_000)
    assert found.difference == pytest.approx(7.5 / 6)
    assert (found.low, found.high) == pytest.approx(np.quantile(draws, [0.2, 0.8]))
    assert found.p == pytest.approx(2 * np.mean(np.array(draws) <= 0), abs=0.02)
    alone = cluster_difference(first, second, list("abcdef"))
    assert alone == paired_bootstrap(first, second)


def test_proportions_in_clusters() -> None:
    """Wilson's interval where there is nothing to draw, or every item stands alone; else that of the draws."""
    draws = np.linspace(0, 1, 101)
    half, ones = np.array([0.0, 1, 0, 1]), np.ones(4)
    assert drawn_interval(half, 4, draws, 0.95) == mean_interval([0, 1, 0, 1])
    assert drawn_interval(half, 2, draws, 0.9) == Interval(4, 0.5, pytest.approx(0.05), pytest.approx(0.95))
    few = mean_interval([1, 1])
    assert drawn_interval(ones, 2, ones, 0.95) == Interval(4, 1, few.low, few.high)


def test_equal_items_of_a_cluster_count_as_one() -> None:
    """Five copies of each item: the interval is that of the items without copies, not one of half the width."""
    names = [f"repository {n}" for n in range(40)]
    copies = np.repeat(VALUES, 5)
    clustered = cluster_interval(copies.tolist(), list(itertools.chain.from_iterable([name] * 5 for name in names)))
    single = bootstrap_interval(VALUES.tolist())
    assert (clustered.low, clustered.high) == pytest.approx((single.low, single.high), abs=1e-12)
    assert clustered.n == 200
    naive = bootstrap_interval(copies.tolist())
    assert naive.high - naive.low < 0.6 * (single.high - single.low)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_nothing_to_draw(value: float) -> None:
    interval = cluster_interval([value] * 12, ["a", "b", "c"] * 4)
    assert (interval.low, interval.high) == wilson_interval(3 * int(value), 3, 0.95)
    assert (interval.n, interval.mean) == (12, value)


def test_lengths() -> None:
    with pytest.raises(UserError, match="one cluster per item, got 1 and 2"):
        cluster_interval([1, 2], ["a"])
    with pytest.raises(UserError, match="at least one scored item"):
        cluster_interval([], [])


@pytest.mark.slow
def test_coverage_with_correlated_clusters() -> None:
    """60 repositories of 1 to 40 functions, half of the variance between repositories; nominal 95%."""
    generator = np.random.default_rng(7)
    covered = {"clusters": 0, "items": 0}
    runs = 400
    for _ in range(runs):
        sizes = generator.integers(1, 41, 60)
        names = np.repeat(np.arange(60).astype(str), sizes)
        values = np.repeat(generator.normal(0, 1, 60), sizes) + generator.normal(0, 1, sizes.sum())  # mean 0
        found = {
            "clusters": cluster_interval(values.tolist(), names.tolist(), resamples=400),
            "items": bootstrap_interval(values.tolist(), resamples=400),
        }
        for name, interval in found.items():
            covered[name] += interval.low <= 0 <= interval.high
    assert covered["clusters"] / runs > 0.90
    assert covered["items"] / runs < 0.6
