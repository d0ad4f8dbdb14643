from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from src.evaluation.statistics.bootstrap import (
    bootstrap_interval,
    bootstrap_p,
    holm,
    mcnemar,
    mean_interval,
    paired_bootstrap,
    resampled_means,
    spread,
    wilson_interval,
)
from src.utils.errors import UserError


def test_interval_of_a_constant_is_a_point() -> None:
    interval = bootstrap_interval([0.25] * 10)
    assert (interval.n, interval.mean, interval.low, interval.high) == (10, 0.25, 0.25, 0.25)


def test_interval_of_a_share_is_that_of_the_binomial() -> None:
    """Resampling k of n solved items draws Binomial(n, k/n)/n, whose quantiles are known."""
    interval = bootstrap_interval([1.0] * 30 + [0.0] * 70, resamples=40_000)
    assert interval.mean == pytest.approx(0.3)
    assert interval.low == pytest.approx(0.21, abs=0.011)  # 2.5 % quantile of B(100, 0.3)/100
    assert interval.high == pytest.approx(0.39, abs=0.011)


@pytest.mark.parametrize(("solved", "count"), [(0, 1), (1, 1), (0, 164), (164, 164), (163, 164), (82, 164), (3, 150)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_interval_of_a_proportion_equals_scipys_wilson(solved: int, count: int, level: float) -> None:
    expected = binomtest(solved, count).proportion_ci(level, method="wilson")
    found = mean_interval([1.0] * solved + [0.0] * (count - solved), level)
    assert (found.n, found.mean) == (count, pytest.approx(solved / count))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= found.low <= found.mean <= found.high <= 1


@pytest.mark.parametrize("count", [150, 164, 378])
@pytest.mark.parametrize("truth", [0.9, 0.95, 0.98, 0.99])
def test_the_interval_of_a_proportion_covers_near_the_ends(truth: float, count: int) -> None:
    """Exact coverage over all outcomes; the percentile bootstrap has 0.77 to 0.84 at 0.99."""
    chances = binom.pmf(np.arange(count + 1), count, truth)
    held = [low <= truth <= high for low, high in (wilson_interval(k, count, 0.95) for k in range(count + 1))]
    assert 0.91 < float(chances[held].sum()) < 0.99


def test_other_means_are_bootstrapped() -> None:
    values = [0.0, 0.5, 1.0]
    assert mean_interval(values) == bootstrap_interval(values)


def test_resampled_means_share_their_draw_between_columns() -> None:
    values = np.array([[1.0, 2.0], [3.0, 6.0], [5.0, 10.0]])
    drawn = resampled_means(values, 50, seed=1)
    assert drawn.shape == (50, 2)
    np.testing.assert_allclose(drawn[:, 1], 2 * drawn[:, 0])
    np.testing.assert_array_equal(drawn, resampled_means(values, 50, seed=1))
    assert not np.array_equal(drawn, resampled_means(values, 50, seed=2))


def test_resampled_means_have_the_mean_and_error_of_the_mean() -> None:
    values = np.random.default_rng(0).random((200, 1))
    drawn = resampled_means(values, 20_000, seed=0)
    assert drawn.mean() == pytest.approx(values.mean(), abs=0.001)
    assert drawn.std() == pytest.approx(values.std() / math.sqrt(200), rel=0.02)


def test_many_items_are_drawn_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random((40, 2))
    monkeypatch.setattr("src.evaluation.statistics.bootstrap.CELLS", 100)
    drawn = resampled_means(values, 1001, seed=0)
    assert drawn.shape == (1001, 2)
    assert drawn.std(0) == pytest.approx(values.std(0) / math.sqrt(40), rel=0.15)


def test_coverage_of_the_interval() -> None:
    """Of 400 samples from a known distribution about 95 % of the intervals hold its mean."""
    generator = np.random.default_rng(1)
    held = 0
    for trial in range(400):
        interval = bootstrap_interval(list(generator.random(80) ** 2), resamples=500, seed=trial)
        held += interval.low <= 1 / 3 <= interval.high
    assert 0.91 <= held / 400 <= 0.98


def test_false_alarms_of_the_paired_test() -> None:
    """Of 400 pairs of equal systems about 5 % are called different."""
    generator = np.random.default_rng(2)
    alarms = 0
    for trial in range(400):
        item = generator.random(100)
        first, second = (list((item + generator.normal(0, 0.3, 100) > 0.5).astype(float)) for _ in range(2))
        alarms += not paired_bootstrap(first, second, resamples=500, seed=trial).tie
    assert 0.02 <= alarms / 400 <= 0.09


def test_paired_difference_is_exact_where_items_move_together() -> None:
    first = list(np.random.default_rng(0).random(50))
    difference = paired_bootstrap([value + 0.01 for value in first], first)
    assert difference.difference == pytest.approx(0.01)
    assert difference.low == pytest.approx(0.01)
    assert not difference.tie
    assert difference.p < 0.001


def test_no_difference_is_a_tie() -> None:
    difference = paired_bootstrap([0.0, 1.0, 1.0], [0.0, 1.0, 1.0])
    assert (difference.difference, difference.low, difference.high, difference.p) == (0, 0, 0, 1)
    assert difference.tie


def test_swapping_the_sides_turns_the_sign() -> None:
    first, second = list(np.random.default_rng(0).random((2, 60)))
    there, back = paired_bootstrap(list(first), list(second)), paired_bootstrap(list(second), list(first))
    assert there.difference == -back.difference
    assert there.low == pytest.approx(-back.high)
    assert there.p == back.p


def test_bootstrap_p_by_hand() -> None:
    assert bootstrap_p(np.array([1.0, 2.0, 3.0, -1.0])) == pytest.approx(2 * (1 + 1) / 5)
    assert bootstrap_p(np.array([1.0, 2.0, 3.0])) == pytest.approx(2 * 1 / 4)
    assert bootstrap_p(np.zeros(10)) == 1


def test_mcnemar_by_hand() -> None:
    # 5 items only the first solves, 1 only the second: 2 * (C(6,0) + C(6,1)) / 64
    first = [True] * 5 + [False] + [True] * 10
    second = [False] * 5 + [True] + [True] * 10
    assert mcnemar(first, second) == pytest.approx(2 * 7 / 64)
    assert mcnemar(first, second) == binomtest(5, 6).pvalue
    assert mcnemar([True, False], [True, False]) == 1


def test_holm_by_hand() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}
    assert holm({"only": 0.04}) == {"only": 0.04}
    assert holm({}) == {}


def test_spread_by_hand() -> None:
    found = spread([0.2, 0.4, 0.6])
    assert (found.n, found.lowest, found.highest) == (3, 0.2, 0.6)
    assert (found.mean, found.deviation) == pytest.approx((0.4, 0.2))
    assert math.isnan(spread([0.5]).deviation)


def test_empty_and_unpaired_input_is_refused() -> None:
    with pytest.raises(UserError, match="at least one scored item"):
        bootstrap_interval([])
    with pytest.raises(UserError, match="got 1 and 2"):
        paired_bootstrap([1.0], [1.0, 0.0])
    with pytest.raises(UserError, match="got 1 and 2"):
        mcnemar([True], [True, False])
