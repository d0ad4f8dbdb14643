"""Heat maps and the table of what merges keep, from the tables of a diagnosis."""

import pandas as pd
import pytest

from src.reporting.keeps import keeps_table
from src.reporting.page.heat import heat_data
from tests.reporting.example import SPECIALISTS, study

FIRST, SECOND = SPECIALISTS.values()


@pytest.fixture(scope="module")
def report():
    band = {"first": FIRST, "second": SECOND, "layer": "layers.1", "kind": "all", "metric": "pearson"}
    kept = {"merge": "pocket-mix", "layer": "all", "kind": "all", "coefficient": 0.5, "unexplained": 0.25}
    survival = [{**kept, "specialist": FIRST, "share": 0.5}, {**kept, "specialist": SECOND, "share": float("nan")}]
    return study(
        chance=pd.DataFrame([{**band, "value": 0.1, "chance": 0.0, "low": -0.01, "high": 0.012}]),
        survival=pd.DataFrame(survival),
    )


def test_maps_hold_the_numbers_of_the_tables(report):
    data = heat_data(report)
    assert data["layers"] == ["embed_tokens", "layers.0", "layers.1", "layers.2", "layers.3", "norm"]
    found = {(one["measure"], one["subject"]): one for one in data["maps"]}
    pairs = {measure for measure, subject in found if subject == "codegen and codesum"}
    assert pairs == {"pearson", "pearson_thresholded", "cosine", "sign_conflict"}
    cells = {tuple(cell[:2]): cell[2:] for cell in found["pearson", "codegen and codesum"]["cells"]}
    table = report.correlations.set_index(["first", "second", "layer"])
    assert cells["layers.1", "all"] == (round(table.loc[(FIRST, SECOND, "layers.1"), "pearson"], 4), -0.01, 0.012)
    assert cells["layers.2", "all"][1:] == (None, None)
    assert found["sign_conflict", "codegen and codesum"]["middle"] == 0.5
    assert ("relative_l2", "Data mixture") in found


def test_what_merges_keep(report):
    """The mixture's update over the mean of the specialists' updates; a share that is unknown is a dash."""
    [row] = keeps_table(report).rows
    lengths = report.layers[(report.layers["layer"] == "all") & (report.layers["kind"] == "all")].set_index("variant")[
        "l2"
    ]
    strength = lengths["pocket-mix"] / ((lengths[FIRST] + lengths[SECOND]) / 2)
    assert row[0] == "Data mixture"
    assert float(row[1]) == pytest.approx(strength, abs=5e-4)
    assert row[2:] == ("50.0%", "–", "25.0%")


def test_nothing_without_a_diagnosis(report):
    empty = study(layers=report.layers.iloc[:0], correlations=report.correlations.iloc[:0])
    assert heat_data(empty)["maps"] == []
    assert keeps_table(empty).rows == ()
