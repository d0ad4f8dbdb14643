"""Values of mergekit's parameters, against mergekit's own evaluation of them."""

from __future__ import annotations

from typing import Any

import pytest

from src.merging.mergekit_yaml.layers import Layers
from src.merging.mergekit_yaml.settings import complete, entries_of, number
from src.merging.schedule import Schedule, depths
from tests.merging.mergekit_yaml.test_read import NAMES


@pytest.mark.parametrize(
    "setting",
    [
        0.3,
        [0.1, 0.9, 0.5],
        {"value": [0.1, 0.9], "filter": "mlp"},
        [
            {"filter": "self_attn", "value": [0.0, 0.5, 0.3, 0.7, 1.0]},
            {"filter": "mlp", "value": [1.0, 0.5]},
            {"value": 0.5},
        ],
        [{"filter": "q_proj.w", "value": 0.1}, {"filter": "*", "value": [0.2, 0.4]}, {"filter": "mlp", "value": 0.9}],
    ],
)
def test_as_mergekit_evaluates_it(setting: Any) -> None:
    config = pytest.importorskip("mergekit.config")
    checked = config.InputModelDefinition(model="m", parameters={"weight": setting}).parameters["weight"]
    found = complete(entries_of(setting, "parameters.weight", number), default=0.25)
    assert found is not None
    schedule = Schedule.of("merge.weight", Layers(NAMES).plain("merge.weight", found))
    for name, depth in depths(NAMES).items():
        expected = config.evaluate_setting(name, checked, depth, validate=float)
        assert schedule.at(name, depth) == (0.25 if expected is None else expected)
