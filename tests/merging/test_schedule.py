"""Numbers per tensor: by hand, and as mergekit evaluates its gradients and filters."""

from __future__ import annotations

from typing import Any

import pytest

from src.merging.schedule import Schedule, depths, per_specialist
from src.utils.errors import UserError

NAMES = (
    "model.embed_tokens.weight",
    *(f"model.layers.{i}.{module}.weight" for i in range(3) for module in ("self_attn.q_proj", "mlp.up_proj")),
    "model.norm.weight",
    "lm_head.weight",
)


def numbers(value: Any) -> list[float]:
    schedule = Schedule.of("merge.density", value)
    schedule.check_patterns(NAMES)
    return [schedule.at(name, depth) for name, depth in depths(NAMES).items()]


def test_the_first_layer_is_at_0_the_last_at_1_and_all_outside_of_layers_at_0() -> None:
    assert list(depths(NAMES).values()) == [0, 0, 0, 0.5, 0.5, 1, 1, 0, 0]
    assert depths(["h.0.weight", "norm.weight"]) == {"h.0.weight": 1, "norm.weight": 0}  # mergekit: a single layer at 1


def test_every_stack_of_layers_has_its_own_depth() -> None:
    names = [
        "encoder.block.0.w.weight",
        "encoder.block.4.w.weight",
        "decoder.block.0.w.weight",
        "decoder.block.1.weight",
    ]
    assert list(depths([*names, "decoder.block.2.weight"]).values()) == [0, 1, 0, 0.5, 1]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.5, [0.5] * 9),
        (1, [1] * 9),
        ([0.5], [0.5] * 9),
        ([0.2, 0.6], [0.2, 0.2, 0.2, 0.4, 0.4, 0.6, 0.6, 0.2, 0.2]),
        ([0.0, 1.0, 0.5, 0.0, 1.0], [0, 0, 0, 0.5, 0.5, 1, 1, 0, 0]),
        ({"mlp": 0.25, "default": 0.5}, [0.5, 0.5, 0.25, 0.5, 0.25, 0.5, 0.25, 0.5, 0.5]),
        ({"default": 0.5, "mlp": 0.25}, [0.5, 0.5, 0.25, 0.5, 0.25, 0.5, 0.25, 0.5, 0.5]),  # `default` is for the rest
        ({r"layers\.0\.": 0.5, "mlp": [0.0, 1.0], "": 0.25}, [0.25, 0.5, 0.5, 0.25, 0.5, 0.25, 1, 0.25, 0.25]),
        ([{"mlp": [0.0, 1.0]}, {"layers": 0.5}, {"default": 2}], [2, 0.5, 0, 0.5, 0.5, 0.5, 1, 2, 2]),
    ],
)
def test_numbers_by_hand(value: Any, expected: list[float]) -> None:
    assert numbers(value) == pytest.approx(expected, abs=1e-12)
    again = Schedule.of("merge.density", value).plain  # as a record holds it
    assert numbers(again) == numbers(value)
    assert Schedule.of("merge.density", again).plain == again


def test_patterns_keep_their_order_in_a_record() -> None:
    assert Schedule.of("merge.density", {"mlp": 0.1, "up_proj": 0.2}).plain == [{"mlp": 0.1}, {"up_proj": 0.2}]
    assert Schedule.of("merge.density", {"up_proj": 0.2, "mlp": 0.1}).plain == [{"up_proj": 0.2}, {"mlp": 0.1}]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("half", "merge.density must be a number, got 'half'"),
        (True, "merge.density must be a number, got True"),
        (float("nan"), "merge.density must be a finite number, got nan"),
        ([], "merge.density must be a number, or a list of numbers from the first layer to the last"),
        ([0.1, "high"], "merge.density must be a number, got 'high'"),
        ({}, "merge.density is empty"),
        ({"mlp": None}, r"merge\.density\.mlp must be a number, got None"),
        ({"mlp": []}, r"merge\.density\.mlp must be a number, or a list"),
        ({"mlp": {"a": 0.1}}, r"merge\.density\.mlp must be a number, or a list"),
        ({"(": 0.1}, r"merge\.density must have regular expressions as keys, got '\('"),
        ([{"mlp": 0.1}, {"mlp": 0.2}], "merge.density has mlp twice"),
        ([{"mlp": 0.1}, 0.2], "merge.density must be a number, got {'mlp': 0.1}"),
        (
            {"mlp": 0.1},
            r"merge\.density has no pattern for 6 tensors \(add default for the rest\): model\.embed_tokens",
        ),
        (
            {"moe": 0.1, "default": 0.2},
            "merge.density: 'moe' matches no merged tensor; expected names such as model.emb",
        ),
        (
            {"layers": 0.1, "mlp": 0.3, "default": 0.2},
            "merge.density: 'mlp' matches only tensors that an earlier pattern",
        ),
    ],
)
def test_bad_values(value: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        numbers(value)


def test_values_by_specialist() -> None:
    found = per_specialist("merge.density", {"b": [0.1, 0.5], "default": {"mlp": 0.2, "default": 0.3}}, ["a", "b", "c"])
    assert found is not None
    assert {name: one.plain for name, one in found.items()} == {
        "a": [{"mlp": 0.2}, {"default": 0.3}],
        "b": [0.1, 0.5],
        "c": [{"mlp": 0.2}, {"default": 0.3}],
    }
    assert per_specialist("merge.density", {"mlp": 0.1, "default": 0.2}, ["a", "b"]) is None


@pytest.mark.parametrize("value", [{"a": 0.1}, {"a": 0.1, "mlp": 0.2, "default": 0.3}])
def test_specialists_named_in_part_or_beside_patterns(value: Any) -> None:
    with pytest.raises(UserError, match=r"merge\.density names a.*; expected every specialist \(a, b\) or default"):
        per_specialist("merge.density", value, ["a", "b"])


def test_words_for_the_names_of_runs() -> None:
    assert [Schedule.of("w", value).word for value in (0.3, [0.2, 0.8])] == ["0.3", "0.2_0.8"]
    first, second = (Schedule.of("w", {"mlp": 0.1, "default": value}).word for value in (0.2, 0.3))
    assert first != second
    assert len(first) == len(second) == len("v123456")
