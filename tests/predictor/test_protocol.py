from dataclasses import replace

import numpy as np
import pytest

from src.predictor.protocol import _auc, measure, rules, splits
from tests.predictor.simulated import NOISE, atlas


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    found = atlas(tmp_path_factory.mktemp("atlas"), bases=8, cells=6, widths=True)
    return measure(found, margin=2.0, draws=5)


def _value(table, split, rule, metric):
    [value] = table[(table["split"] == split) & (table["rule"] == rule) & (table["metric"] == metric)]["value"]
    return value


@pytest.mark.parametrize("split", ["leave base out", "leave pair out", "width 96 to wider"])
def test_the_predictor_finds_the_truth_and_the_rules_do_not(measured, split):
    """The noise has a standard deviation of 2 points: on 18 or more studies no error can be much smaller."""
    assert NOISE * 0.65 < _value(measured, split, "predictor", "rmse") < NOISE * 1.5
    assert _value(measured, split, "predictor", "pearson") > 0.85
    assert 0.8 <= _value(measured, split, "predictor", "coverage") <= 1
    assert _value(measured, split, "predictor", "brier") < _value(measured, split, "mean", "brier")
    assert _value(measured, split, "predictor", "auc") > 0.9
    assert abs(_value(measured, split, "base_nll alone", "pearson")) < 0.5
    regrets = [_value(measured, split, rule, "regret") for rule in ("predictor", "always mix", "paper's rule, raw")]
    assert regrets == sorted(regrets)


def test_pure_noise_is_not_predicted(tmp_path):
    """With a gap that has nothing to do with any of nine features, the nested choice finds no correlation."""
    found = atlas(tmp_path, bases=9, cells=6)
    shuffled = np.random.default_rng(0).permutation(found.gap)
    table = measure(replace(found, gap=shuffled), margin=2.0, draws=2)
    assert abs(_value(table, "leave base out", "predictor", "pearson")) < 0.4
    assert _value(table, "leave base out", "predictor", "rmse") > 0.95 * shuffled.std()


def test_splits_leave_whole_groups_out(tmp_path):
    found = atlas(tmp_path, widths=True)
    every = splits(found)
    assert [len(folds) for folds in every.values()] == [12, 4, 1]
    for train, test in every["leave base out"]:
        assert not set(found.groups["base"][train]) & set(found.groups["base"][test])
    [(train, test)] = every["width 96 to wider"]
    assert set(found.groups["width"][train]) == {"96"}
    assert "96" not in found.groups["width"][test]


def test_rules_by_hand(tmp_path):
    """Paper: merge below 0.3. Regret is what the better side had more."""
    found = atlas(tmp_path)
    by_name = rules(found.names)
    answers = by_name["paper's rule, thresholded"](found, found, 2.0)
    column = found.names.index("pearson_thresholded")
    np.testing.assert_array_equal(answers.mixes, found.values[:, column] >= 0.3)
    assert by_name["always mix"](found, found, 2.0).mixes.all()
    assert by_name["mean"](found, found, 2.0).gap[0] == pytest.approx(found.gap.mean())


def test_area_under_the_curve_by_hand():
    """Winners 0.9 and 0.4 against 0.5 and 0.4: 2 + 0.5 of 4 pairs are in order."""
    assert _auc(np.array([0.9, 0.4, 0.5, 0.4]), np.array([True, True, False, False])) == pytest.approx(2.5 / 4)
    assert np.isnan(_auc(np.array([0.9, 0.4]), np.array([True, True])))
