from __future__ import annotations

from dataclasses import astuple
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from src.predictor.scaling_law import ScalingLaw, fit_law, fit_laws
from src.utils.errors import UserError

LAW = ScalingLaw(0.4, size_factor=0.3, size_power=0.5, merge_factor=0.6, merge_power=0.3, offset=0.7)
SIZES = (0.3e6, 0.9e6, 3.2e6, 12e6)


def losses(law: ScalingLaw, sizes: tuple[float, ...] = SIZES, noise: float = 0.0) -> pd.DataFrame:
    """Every subset of six specialists."""
    generator = np.random.default_rng(0)
    rows = [(n, k) for n in sizes for k in range(1, 7) for _ in combinations(range(6), k)]
    table = pd.DataFrame(rows, columns=["parameters", "k"])
    values = law(table["parameters"].to_numpy(float), table["k"].to_numpy(float))
    return table.assign(loss=values + noise * generator.normal(size=len(table)))


def test_a_loss_by_hand() -> None:
    """One million parameters: 0.4 + 0.3 + 0.6 / 1.7; four million: the powers are 1/2 and 4^-0.3."""
    found = LAW(np.array([1e6, 4e6]), np.array([1.0, 1.0]))
    assert found.tolist() == pytest.approx([0.4 + 0.3 + 0.6 / 1.7, 0.4 + 0.15 + 0.6 * 4**-0.3 / 1.7])


def test_known_exponents_are_found() -> None:
    found = fit_law(losses(LAW), draws=2)
    assert astuple(found.law) == pytest.approx(astuple(LAW), rel=0.03)
    assert found.r_squared > 0.9999
    assert found.beyond == pytest.approx(0, abs=1e-4)
    assert found.unchanged is not None
    assert found.unchanged > 0.01


def test_intervals_hold_the_truth_and_are_wider_with_more_noise() -> None:
    some, much = (fit_law(losses(LAW, noise=noise), draws=40) for noise in (0.003, 0.03))
    low, high = some.intervals["merge_factor"]
    assert low <= LAW.merge_factor <= high
    assert much.intervals["merge_factor"][1] - much.intervals["merge_factor"][0] > high - low
    assert some.error < much.error


def test_specialists_that_disturb_each_other_have_a_negative_factor() -> None:
    found = fit_law(losses(ScalingLaw(0.9, 0.2, 0.5, -0.4, 0.0, 0.5)), draws=1)
    assert found.law.merge_factor == pytest.approx(-0.4, rel=0.05)
    assert " - 0.4" in next(found.lines("linear"))


def test_one_size_has_no_powers_of_it() -> None:
    found = fit_law(losses(LAW, sizes=(1e6,)), draws=1).law
    assert (found.size_factor, found.size_power, found.merge_power) == (0, 0, 0)
    assert found(np.array([1e6]), np.array([3.0]))[0] == pytest.approx(
        LAW(np.array([1e6]), np.array([3.0]))[0], abs=1e-5
    )


def test_methods_have_their_own_laws_and_the_base_is_left_out() -> None:
    table = losses(LAW, sizes=(1e6,))
    base = pd.DataFrame([{"parameters": 1e6, "k": 0, "loss": 99.0, "method": "base"}])
    both = pd.concat([base, table.assign(method="linear"), table.assign(method="ties", loss=table["loss"] + 1)])
    found = fit_laws(both, draws=1)
    assert list(found) == ["linear", "ties"]
    assert found["ties"].law.floor - found["linear"].law.floor == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("table", "match"),
    [
        (pd.DataFrame({"k": [1], "loss": [1.0]}), "lack the columns parameters"),
        (pd.DataFrame({"parameters": [1e6] * 2, "k": [1, 2], "loss": [1.0, 0.5]}), "three or more"),
    ],
)
def test_too_little_is_refused(table: pd.DataFrame, match: str) -> None:
    with pytest.raises(UserError, match=match):
        fit_law(table)
