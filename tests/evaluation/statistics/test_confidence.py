from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t

from src.evaluation.statistics.bootstrap import Array
from src.evaluation.statistics.confidence import Contrast, contrast
from src.evaluation.statistics.score_arrays import ScoreArrays


def scores(own: Array, first: Array, second: Array) -> ScoreArrays:
    """One benchmark of one metric, T x N of each: specialist, and two subjects."""
    return ScoreArrays((np.stack([own, first, second], axis=2)[..., None],), np.array([0]), np.array([1.0]))


def compared(found: ScoreArrays, in_points: bool = False, draws: int = 4000) -> Contrast:
    return contrast(found, found, 1, 2, found.drawn_means(draws, [0]), in_points)


def random(items: int = 400, runs: int = 1) -> ScoreArrays:
    generator = np.random.default_rng(0)
    return scores(*(generator.normal(mean, 0.1, (runs, items)) for mean in (0.8, 0.6, 0.58)))


def test_interval_of_many_even_items_is_the_delta_methods() -> None:
    found = compared(random(2000))
    low, high = found.interval(0.95)
    assert found.error == pytest.approx(np.hypot(0.1, 0.1) / 0.8 / 2000**0.5, rel=0.03)
    assert (high - low) / 2 == pytest.approx(1.96 * found.error, rel=0.04)
    assert found.value == pytest.approx(0.02 / 0.8, abs=0.005)


def test_two_subjects_change_places() -> None:
    own = random()
    there, back = (contrast(own, own, *pair, own.drawn_means(500, [0])) for pair in ((1, 2), (2, 1)))
    np.testing.assert_allclose(there.quantiles, -back.quantiles[::-1])


def test_points_are_differences_of_scores() -> None:
    """0.6 against 0.58 of 0.8: 2 points of the scores, 2.5 of the average."""
    flat = scores(*(np.full((1, 4), value) for value in (0.8, 0.6, 0.58)))
    assert compared(flat, in_points=True).value == pytest.approx(0.02)
    assert compared(flat).value == pytest.approx(0.025)


def test_runs_alone_give_students_interval() -> None:
    """Items do not vary: differences 0, 0.1 and 0.2 have mean 0.1, and the interval of three values."""
    ones = np.ones((3, 5))
    found = compared(scores(ones, ones * 0.5 + np.array([[0.0], [0.1], [0.2]]), ones * 0.5), draws=20_000)
    reach = t.ppf(0.975, 2) * 0.1 / 3**0.5
    assert found.interval(0.95) == pytest.approx((0.1 - reach, 0.1 + reach), rel=1e-3)
    assert (found.item_variance, found.run_variance) == pytest.approx((0, 0.01))
    assert found.by_run == pytest.approx((0, 0.1, 0.2))


@pytest.mark.parametrize(("shift", "runs"), [(0.004, 3), (0.02, 3), (0.02, 2)])
def test_quantiles_of_items_and_runs_are_weighted_by_their_variances(shift: float, runs: int) -> None:
    """Cochran and Cox: variances add up; the quantile lies between the normal one and Student's of the runs."""
    generator = np.random.default_rng(2)
    own, rest = np.ones((runs, 3000)), 0.1 * np.tile(generator.normal(size=3000), (runs, 1))
    found = compared(scores(own, 0.5 + rest + shift * np.arange(runs)[:, None], 0.5 * own))
    items, between = 0.1**2 / 3000, np.var(shift * np.arange(runs), ddof=1) / runs
    share = between / (items + between)
    reach = ((1 - share) * 1.96 + share * t.ppf(0.975, runs - 1)) * (items + between) ** 0.5
    low, high = found.interval(0.95)
    assert (high - low) / 2 == pytest.approx(reach, rel=0.05)
    assert found.run_noise == pytest.approx(0, abs=1e-12)


def test_equal_runs_give_the_interval_of_one() -> None:
    one, own = random(), random().values[0][0]
    three = ScoreArrays((np.stack([own] * 3),), one.references, one.shares)
    np.testing.assert_allclose(compared(three).quantiles, compared(one).quantiles)
    assert compared(three).run_variance == 0


def test_runs_that_differ_as_their_items_do_add_no_variance() -> None:
    """Averaged over many studies: independent items in each run are noise, not a difference between runs."""
    generator = np.random.default_rng(1)
    studies = [scores(*(generator.normal(m, 0.1, (3, 60)) for m in (0.8, 0.6, 0.6))) for _ in range(200)]
    found = [compared(study, draws=20) for study in studies]
    between = np.mean([np.var(one.by_run, ddof=1) for one in found])
    assert np.mean([one.run_noise for one in found]) == pytest.approx(between, rel=0.2)


def in_clusters(found: ScoreArrays, clusters: list[str]) -> ScoreArrays:
    return replace(found, clusters={0: clusters})


def test_clusters_of_equal_items_count_as_one_item() -> None:
    """Every item three times in a cluster, over three training seeds: the same confidence as each once."""
    once = random(60, runs=3)
    copied = replace(once, values=(np.repeat(once.values[0], 3, axis=1),))
    clustered = in_clusters(copied, [f"c{n}" for n in range(60) for _ in range(3)])
    for in_points in (False, True):
        one, three = compared(once, in_points), compared(clustered, in_points)
        np.testing.assert_allclose(three.quantiles, one.quantiles)
        assert (three.n, one.n) == (180, 60)
        wanted = (one.value, one.item_variance, one.run_noise, one.run_variance)
        assert (three.value, three.item_variance, three.run_noise, three.run_variance) == pytest.approx(wanted)
    assert compared(copied).item_variance < 0.4 * compared(once).item_variance
    alone = in_clusters(once, [f"c{n}" for n in range(60)])
    np.testing.assert_allclose(compared(alone).quantiles, compared(once).quantiles)


def test_variance_of_unequal_clusters_by_hand() -> None:
    """Differences 1, 3 | 2 | 6, 2, 4: mean 3; sums of deviations -2, -1, 3 by cluster; 3/2 * (4 + 1 + 9) / 36."""
    gaps = np.array([[1.0, 3, 2, 6, 2, 4]])
    found = in_clusters(scores(np.ones((1, 6)), gaps, np.zeros((1, 6))), list("aabccc"))
    assert compared(found, in_points=True).item_variance == pytest.approx(1.5 * 14 / 36)


def test_few_items_that_decide_widen_the_interval() -> None:
    """5 of 150 rows score: their variance is uncertain, and the interval longer than the percentiles of the draws."""
    sparse = np.zeros((1, 150))
    sparse[0, :5] = [0.2, 0.33, 0.41, 0.55, 0.63]
    found = scores(np.ones((1, 150)), sparse, np.full((1, 150), 0.01))
    drawn = found.drawn_means(4000, [0])
    low, high = contrast(found, found, 1, 2, drawn).interval(0.95)
    plain = np.quantile(drawn[:, 0, 1, 0] - 0.01, [0.025, 0.975])
    assert high - low > 1.05 * (plain[1] - plain[0])
