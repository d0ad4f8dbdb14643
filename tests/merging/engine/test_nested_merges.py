"""A specialist joins an existing merge: the same as merging all at once where the method is linear."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from src.checkpoints import Checkpoint
from src.merging.engine.grid import Point, merge_grid
from src.merging.engine.nested_merges import Round, joining_weights, resolve_round
from src.merging.engine.outputs import ToDirectory
from src.utils.errors import UserError
from tests.merging.tools import largest_difference, merge_all, random_family, recipe, write_family

TARGET = {"codegen": 0.3, "codesum": 0.5, "bugfix": 0.2}


def describe(name: str, **keys: Any) -> dict[str, Any]:
    return recipe(name, **keys).describe(list(keys["weights"]))


def first_round(name: str = "linear") -> Round:
    return resolve_round(describe(name, weights={"codegen": 0.375, "codesum": 0.625}), {})


@pytest.mark.parametrize("name", ["linear", "task_arithmetic"])
@pytest.mark.parametrize("scale", [1.0, 0.7])
def test_two_rounds_equal_one_shot(tmp_path: Path, name: str, scale: float) -> None:
    keys = {"lambda": scale} if name == "task_arithmetic" else {}
    base, parents = write_family(tmp_path, *random_family(3))
    old = {label: parents[label] for label in ("codegen", "codesum")}
    first = recipe(name, weights={"codegen": 0.375, "codesum": 0.625}, **keys)
    merge_grid(base, old, [Point(first, ToDirectory(tmp_path / "merge"))])
    earlier = resolve_round(first.describe(list(old)), {})
    weights = joining_weights(TARGET, "merge", earlier)
    joined = {"merge": Checkpoint(tmp_path / "merge"), "bugfix": parents["bugfix"]}
    second = recipe(name, weights=weights)
    [rounds], _ = merge_all(base, joined, [second])
    [one_shot], _ = merge_all(base, parents, [recipe(name, weights=TARGET)])
    assert largest_difference(rounds, one_shot) < 1e-6
    resolved = resolve_round(second.describe(list(joined)), {"merge": earlier})
    assert resolved.is_one_shot
    assert resolved.coefficients == pytest.approx(TARGET)
    assert resolved.order == ("codegen", "codesum", "bugfix")


def test_three_rounds() -> None:
    one = resolve_round(describe("linear", weights={"a": 1.0}), {})
    two = resolve_round(describe("linear", weights={"m1": 1.0, "b": 1.0}), {"m1": one})
    three = resolve_round(describe("linear", weights={"m2": 2.0, "c": 1.0}), {"m2": two})
    assert three.coefficients == pytest.approx({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3})


@pytest.mark.parametrize("name", ["ties", "dare", "della", "slerp"])
def test_rounds_of_other_methods_depend_on_the_order(name: str) -> None:
    first = first_round(name)
    assert first.is_one_shot  # a single merge is
    assert not first.is_linear
    second = resolve_round(describe("linear", weights={"m": 0.8, "bugfix": 0.2}), {"m": first})
    assert second.reason == "m is no linear merge: what it dropped or elected cannot be weighed anew"
    linear = first_round()
    over = resolve_round(describe(name, weights={"m": 0.8, "bugfix": 0.2}), {"m": linear})
    assert over.reason == f"{name} takes an earlier merge as one more specialist, so the order of rounds matters"
    with pytest.raises(UserError, match="cannot go on to a one-shot merge: its method is not linear"):
        joining_weights(TARGET, "m", first)


@pytest.mark.parametrize(
    "keys", [{"match_norm": True}, {"exclude": "embed"}, {"normalize": False, "weights": {"codegen": 1, "codesum": 1}}]
)
def test_linear_merges_that_are_no_fixed_combination(keys: dict[str, Any]) -> None:
    weights = {"weights": {"codegen": 0.375, "codesum": 0.625}}
    assert not resolve_round(describe("linear", **weights | keys), {}).is_linear


def test_other_proportions_than_the_merge_has() -> None:
    first = first_round()
    with pytest.raises(UserError, match=r"m has codegen 0.375, codesum 0.625: another proportion"):
        joining_weights({"codegen": 0.4, "codesum": 0.4, "bugfix": 0.2}, "m", first)
    with pytest.raises(UserError, match="m holds codesum: name their coefficients too"):
        joining_weights({"codegen": 0.4, "bugfix": 0.2}, "m", first)


def test_a_specialist_that_is_already_in() -> None:
    first = first_round()
    with pytest.raises(UserError, match="codegen takes part in this merge twice"):
        resolve_round(describe("linear", weights={"m": 0.8, "codegen": 0.2}), {"m": first})
