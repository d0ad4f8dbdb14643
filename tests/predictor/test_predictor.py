import json
import math

import numpy as np
import pytest

from src.predictor.atlas import FILE, read_atlas
from src.predictor.features import FEATURES, SETTINGS
from src.predictor.predictor import Predictor
from src.predictor.refit import refit
from src.predictor.regression import Line
from src.utils.errors import UserError
from tests.predictor.simulated import NOISE, atlas, table


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    return Predictor.fitted(atlas(tmp_path_factory.mktemp("atlas")))


TASKS = ["p0"]
TYPICAL = {"parameters": 280_000, "relative_update": 0.1, "forgetting": 0.4}


def test_the_truth_is_found(predictor):
    """Slopes -5 and -12; the features that have nothing to do with the gap are not chosen before those that have."""
    assert predictor.used[:2] in (["relative_update", "forgetting"], ["forgetting", "relative_update"])
    needed = TYPICAL | dict.fromkeys(FEATURES, 1.0) | TYPICAL
    middle = predictor.predict(needed)
    assert middle.gap == pytest.approx(-4, abs=1.0)
    further = predictor.predict(needed | {"relative_update": 0.1 * math.e})
    assert further.gap - middle.gap == pytest.approx(-5, abs=1.0)
    assert further.mix_wins > middle.mix_wins
    assert abs(further.drivers["relative_update"]) > abs(middle.drivers["relative_update"])


def test_interval_covers_and_is_about_as_wide_as_the_noise(tmp_path):
    """Nominal 90 % on 400 fresh studies of fresh bases; 3.3 standard deviations of the noise wide."""
    predictor = Predictor.fitted(atlas(tmp_path))
    (tmp_path / "new").mkdir()
    fresh = atlas(tmp_path / "new", bases=50, seed=1)
    assert fresh.names == predictor.names
    gap, low, high, wins = predictor.at(fresh.values)
    assert 0.85 < np.mean((low <= fresh.gap) & (fresh.gap <= high)) < 0.97
    assert np.mean(high - low) == pytest.approx(3.3 * NOISE, rel=0.25)
    assert np.corrcoef(gap, fresh.gap)[0, 1] > 0.9
    for lower, upper in ((0.0, 0.2), (0.3, 0.7), (0.8, 1.0)):  # calibration
        chosen = (wins >= lower) & (wins <= upper)
        assert np.mean(fresh.gap[chosen] < -2) == pytest.approx(wins[chosen].mean(), abs=0.15)


def test_interval_by_hand():
    """Three studies, constant folds 0, 1 and 2, residuals 1, -2 and 3: lower bounds -1, -1, -1, upper 1, 3, 5."""
    built = [Line((), (), value) for value in (1.0, 0.0, 1.0, 2.0)]
    predictor = Predictor(["pearson"], built[0], built[1:], [0, 1, 2], [1.0, -2.0, 3.0], [0.0], None, margin=0.5)  # type: ignore[arg-type]
    gap, low, high, wins = predictor.at(np.zeros((1, 1)), level=0.5)
    assert (gap[0], low[0], high[0]) == (1.0, -1.0, 3.0)  # ranks 2 of 3 and 2 of 3
    assert wins[0] == (1 + 0.5) / 4  # 0 + 1, 1 - 2, 2 + 3: one is below -0.5
    _, low, high, _ = predictor.at(np.zeros((1, 1)), level=0.9)
    assert (low[0], high[0]) == (-math.inf, math.inf)  # three studies cannot bound 90 %


def test_outside_the_atlas_is_said_instead_of_a_number(predictor):
    inside = TYPICAL | dict.fromkeys(set(predictor.used) - set(TYPICAL), 10.0)
    values = {name: inside[name] for name in {*predictor.used, "parameters"}}
    values |= {
        name: math.exp(mean) if FEATURES[name].logarithm else mean
        for name, mean in zip(predictor.names, predictor.means, strict=True)
    }
    assert predictor.outside(values, TASKS) == []
    [reason] = predictor.outside(values | {"parameters": 7e9}, TASKS)
    assert reason.startswith("parameters 7e+09 is outside 2.8e+05")
    assert any("relative_update" in reason for reason in predictor.outside(values | {"relative_update": 1e-4}, TASKS))
    [reason] = predictor.outside(values, ["other", "tasks"])
    assert reason == "its tasks are p0, p1, p2, p3"
    with pytest.raises(UserError, match="forgetting"):
        predictor.outside({name: value for name, value in values.items() if name != "forgetting"}, TASKS)


def test_an_unusual_combination_of_usual_values_is_outside(tmp_path):
    """Two features that go together in the atlas: each in its range, but apart."""
    rows = table(cells=8)
    rows["forgetting"] = (
        0.4 + 0.3 * np.log(rows["relative_update"] / 0.1) + np.random.default_rng(0).normal(0, 0.02, len(rows))
    )
    rows["gap"] = 30 * (rows["forgetting"] - 0.3 * np.log(rows["relative_update"] / 0.1)) + 5 * rows["forgetting"]
    rows[["base", "pair", "gap", "relative_update", "forgetting"]].to_csv(tmp_path / "a.csv", index=False)
    found = Predictor.fitted(read_atlas(tmp_path / "a.csv"))
    assert set(found.used) == {"relative_update", "forgetting"}
    assert found.outside({"relative_update": 0.1, "forgetting": 0.4}, TASKS) == []
    [reason] = found.outside({"relative_update": 0.3, "forgetting": 0.2}, TASKS)
    assert "combination" in reason


def test_saved_and_read_back(tmp_path):
    table(bases=4, cells=4).to_csv(tmp_path / "atlas.csv", index=False)
    found = refit(tmp_path / "atlas.csv", tmp_path / "fitted.json", draws=5)
    assert {"predictor", "mean"} <= set(found["rule"])
    read, made = Predictor.load(tmp_path / "fitted.json"), Predictor.fitted(read_atlas(tmp_path / "atlas.csv"))
    assert read.record.startswith("16 studies; leave base out: r = ")
    assert "always mix: " in read.record
    fresh = np.tile(np.array(made.means), (2, 1))
    for one, other in zip(read.at(fresh), made.at(fresh), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (
        "python -m src.predictor.refit atlas.csv"
        in json.loads((tmp_path / "fitted.json").read_text())["about"]["command"]
    )
    (tmp_path / "broken.json").write_text("{}")
    with pytest.raises(UserError, match=r"broken\.json.*refit"):
        Predictor.load(tmp_path / "broken.json")


def test_features_from_run_directories(tmp_path):
    rows = table(bases=3, cells=2)
    names = [name for name in rows if name in FEATURES]
    for number, row in rows.iterrows():
        (tmp_path / f"run{number}").mkdir()
        (tmp_path / f"run{number}" / FILE).write_text(
            json.dumps({"features": row[names].to_dict(), "settings": SETTINGS})
        )
    rows[["base", "pair", "gap"]].assign(diagnosis=[f"run{n}" for n in rows.index]).to_csv(
        tmp_path / "a.csv", index=False
    )
    found = read_atlas(tmp_path / "a.csv")
    assert found.names == [name for name in FEATURES if name in names and name != "parameters"]
    np.testing.assert_allclose(found.values[:, 0], np.log(rows["relative_update"]))
    np.testing.assert_allclose(found.limits[:, 0], math.log(280_000))
    few = {"features": {}, "settings": SETTINGS | {"spectra_rank": 4}}
    (tmp_path / "run0" / FILE).write_text(json.dumps(few))
    with pytest.raises(UserError, match="spectra_rank=4 instead of 16"):
        read_atlas(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.drop(columns="gap"), "column gap"),
        (lambda rows: rows[["base", "pair", "gap"]], "features"),
        (lambda rows: rows.assign(forgetting=["x", *rows["forgetting"][1:]]), "row 2, forgetting"),
        (lambda rows: rows[rows["base"] == "b0"], "3 different bases"),
    ],
)
def test_a_wrong_atlas_is_named(tmp_path, change, message):
    change(table(bases=3)).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(UserError, match=message):
        read_atlas(tmp_path / "a.csv")


def test_a_missing_value_is_no_zero(tmp_path):
    rows = table(bases=3)
    rows.loc[0, "pearson"] = float("nan")
    rows.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(UserError, match="row 2, pearson"):
        read_atlas(tmp_path / "a.csv")
