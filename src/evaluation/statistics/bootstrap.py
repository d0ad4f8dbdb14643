"""Intervals, paired tests and correction. Shapes: N items, R bootstrap draws."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from src.utils.errors import UserError

Array = NDArray[np.float64]
CELLS = 4_000_000  # maximum number of resampling counts held at a time


@dataclass(frozen=True)
class Interval:
    """A mean over items with its interval.

    Attributes:
        n: Items.
        mean: Over the items.
        low: Lower end.
        high: Upper end.
    """

    n: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """Difference of two systems on the same items.

    Attributes:
        n: Items.
        difference: First minus second.
        low: Lower end of its interval.
        high: Upper end.
        p: Two-sided p-value of no difference.
    """

    n: int
    difference: float
    low: float
    high: float
    p: float

    @property
    def tie(self) -> bool:
        """True if the interval includes zero."""
        return self.low <= 0 <= self.high


def resampled_means(values: Array, resamples: int, seed: int) -> Array:
    """Means over items drawn with replacement, the same draw for all columns.

    Args:
        values: N x C, one column per quantity that is measured on the items.
        resamples: R.
        seed: Seed of the draws; equal seeds and N give equal draws.

    Returns:
        R x C.
    """
    count = len(values)
    generator = np.random.default_rng(seed)
    means = []
    for start in range(0, resamples, max(1, CELLS // count)):
        rows = min(max(1, CELLS // count), resamples - start)
        draws = generator.integers(0, count, (rows, count)) + np.arange(rows)[:, None] * count
        weights = np.bincount(draws.ravel(), minlength=rows * count).reshape(rows, count)
        means.append(weights @ values / count)
    return np.concatenate(means)


def mean_interval(values: Sequence[float], level: float = 0.95, resamples: int = 10_000, seed: int = 0) -> Interval:
    """Interval of a mean: Wilson's for a proportion (all values 0 or 1), else the percentile bootstrap.

    Near 0 and 1 the bootstrap of a proportion is too short, and at the ends it is a point: with a true value of 0.99
    and 164 items, its 95% interval covers 80% of the time, Wilson's 97%.

    Args:
        values: One value per item.
        level: Coverage, e.g. 0.95.
        resamples: Bootstrap draws.
        seed: Seed of the draws.

    Raises:
        UserError: No items.
    """
    column = _column(values)
    if not is_proportion(column):
        return bootstrap_interval(values, level, resamples, seed)
    return Interval(len(column), float(column.mean()), *wilson_interval(int(column.sum()), len(column), level))


def is_proportion(values: Array) -> bool:
    """True if all values are 0 or 1, so that their mean is a proportion."""
    return bool(((values == 0) | (values == 1)).all())


def wilson_interval(successes: int, count: int, level: float) -> tuple[float, float]:
    """Compute Wilson's score interval of a proportion (DOI 10.1080/01621459.1927.10502953).

    Args:
        successes: Items with value 1.
        count: Items.
        level: Coverage, e.g. 0.95.
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = successes / count
    center = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return (max(0.0, center - half) if successes else 0.0), (min(1.0, center + half) if successes < count else 1.0)


def bootstrap_interval(
    values: Sequence[float], level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Percentile bootstrap interval of a mean.

    Args:
        values: One value per item.
        level: Coverage, e.g. 0.95.
        resamples: Bootstrap draws.
        seed: Seed of the draws.

    Raises:
        UserError: No items.
    """
    column = _column(values)
    low, high = percentile_interval(resampled_means(column, resamples, seed)[:, 0], level)
    return Interval(len(column), float(column.mean()), low, high)


def paired_bootstrap(
    first: Sequence[float], second: Sequence[float], level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Difference:
    """Difference of two means over the same items, which are drawn jointly.

    Args:
        first: One value per item.
        second: The same items in the same order.
        level: Coverage, e.g. 0.95.
        resamples: Bootstrap draws.
        seed: Seed of the draws.

    Raises:
        UserError: No items, or different numbers of them.
    """
    if len(first) != len(second):
        raise UserError(f"a paired test needs the same items on both sides, got {len(first)} and {len(second)}")
    column = _column(first) - _column(second)
    draws = resampled_means(column, resamples, seed)[:, 0]
    low, high = percentile_interval(draws, level)
    return Difference(len(column), float(column.mean()), low, high, bootstrap_p(draws))


def percentile_interval(draws: Array, level: float) -> tuple[float, float]:
    """The central share `level` of bootstrap draws."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_p(draws: Array) -> float:
    """Two-sided p of zero: twice the smaller share of draws on either side, never 0 (one draw is added)."""
    side = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return min(1.0, 2 * (side + 1) / (len(draws) + 1))


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> float:
    """Exact two-sided McNemar test of whether two systems solve different numbers of the same items.

    Args:
        first: Solved or not, item by item.
        second: The same items in the same order.

    Returns:
        The p-value: binomial, over the items that exactly one of them solves; 1 if there are none.

    Raises:
        UserError: Different numbers of items.
    """
    if len(first) != len(second):
        raise UserError(f"a paired test needs the same items on both sides, got {len(first)} and {len(second)}")
    only_first = sum(bool(one) and not two for one, two in zip(first, second, strict=True))
    only_second = sum(bool(two) and not one for one, two in zip(first, second, strict=True))
    if only_first + only_second == 0:
        return 1.0
    return float(binomtest(only_first, only_first + only_second, 0.5).pvalue)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down correction: the i-th smallest of m p-values times m - i + 1, made monotone, at most 1."""
    ordered = sorted(p_values.items(), key=lambda pair: pair[1])
    adjusted, worst = {}, 0.0
    for rank, (name, p_value) in enumerate(ordered):
        worst = max(worst, min(1.0, p_value * (len(ordered) - rank)))
        adjusted[name] = worst
    return {name: adjusted[name] for name in p_values}


@dataclass(frozen=True)
class Spread:
    """A score over seeds.

    Attributes:
        n: Seeds.
        mean: Over seeds.
        deviation: Standard deviation of one seed (n - 1); nan for a single seed.
        lowest: Smallest.
        highest: Largest.
    """

    n: int
    mean: float
    deviation: float
    lowest: float
    highest: float


def spread(values: Sequence[float]) -> Spread:
    """Summarize a score over seeds, e.g. those of DARE's or DELLA's masks.

    Args:
        values: One score per seed.

    Raises:
        UserError: No values.
    """
    column = _column(values)[:, 0]
    deviation = float(column.std(ddof=1)) if len(column) > 1 else math.nan
    return Spread(len(column), float(column.mean()), deviation, float(column.min()), float(column.max()))


def _column(values: Sequence[float]) -> Array:
    if len(values) == 0:
        raise UserError("expected at least one scored item, got none")
    return np.asarray(values, dtype=np.float64).reshape(-1, 1)
