from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, t

from src.evaluation.statistics.confidence import Contrast
from src.evaluation.statistics.power import power_of

LEVELS = (np.arange(100_000) + 0.5) / 100_000


def measured(value: float, error: float = 0.03, **changes: object) -> Contrast:
    """300 items with a normal confidence distribution."""
    values: dict[str, object] = {
        "n": 300, "value": value, "quantiles": value + error * norm.ppf(LEVELS), "by_run": (value,),
        "item_variance": error**2, "run_noise": 0.0, "run_variance": 0.0,
    }  # fmt: skip
    return Contrast(**(values | changes))  # type: ignore[arg-type]


def test_power_by_hand() -> None:
    """A standard error of 3 points finds (1.96 + 0.84) x 3 = 8.4; half of that needs four times the items."""
    found = power_of(measured(0.042), margin=0, level=0.95)
    assert found.detectable == pytest.approx(2.8016 * 0.03, rel=1e-3)
    assert found.items == pytest.approx(4 * 300, rel=0.01)
    assert found.runs is None
    assert not found.equivalent


def test_a_small_difference_would_be_shown_to_be_none() -> None:
    """5 points of room to the margin need a standard error of 5 / (1.645 + 0.842)."""
    found = power_of(measured(0.01), margin=0.06, level=0.95)
    assert found.equivalent
    assert found.items == pytest.approx(300 * (0.03 / (0.05 / 2.4865)) ** 2, rel=0.01)


def test_items_alone_do_not_decide_where_runs_differ_too_much() -> None:
    runs = {"by_run": (0.0, 0.05, 0.1), "run_variance": 0.0025}
    found = power_of(measured(0.05, 0.01, **runs), margin=0, level=0.95)
    assert found.items is None
    assert found.runs is not None
    assert found.runs > 3


def test_the_number_of_runs_that_decides_is_found_by_simulation() -> None:
    """With that many runs of normal differences, Student's test finds the difference in about 80% of the cases."""
    runs = {"by_run": (0.0, 0.05, 0.1), "run_variance": 0.0025, "item_variance": 1e-9}
    count = power_of(measured(0.05, 1e-5, **runs), margin=0, level=0.95).runs
    assert count is not None
    drawn = np.random.default_rng(0).normal(0.05, 0.05, (20_000, count))
    reach = t.ppf(0.975, count - 1) * drawn.std(axis=1, ddof=1) / count**0.5
    assert 0.78 <= (drawn.mean(axis=1) > reach).mean() <= 0.87


def test_no_difference_at_all_has_nothing_to_decide() -> None:
    found = power_of(measured(0.0), margin=0, level=0.95)
    assert (found.items, found.runs) == (None, None)
