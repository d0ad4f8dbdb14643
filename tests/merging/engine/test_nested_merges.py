"""A specialist joins an existing merge: the same as merging all at once where the method is linear."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from src.checkpoints import Checkpoint
from src.merging.engine.grid import MergeRequest, merge_grid
from src.merging.engine.nested_merges import NestedMerge, resolve_nested_merge
from src.merging.engine.outputs import ToDirectory
from src.utils.errors import UserError
from tests.merging.tools import largest_difference, merge_all, random_family, recipe, write_family

TARGET = {"codegen": 0.3, "codesum": 0.5, "bugfix": 0.2}


def describe(name: str, **keys: Any) -> dict[str, Any]:
    return recipe(name, **keys).describe(list(keys["weights"]))


def first_merge(name: str = "linear") -> NestedMerge:
    return resolve_nested_merge(describe(name, weights={"codegen": 0.375, "codesum": 0.625}), {})


@pytest.mark.parametrize("name", ["linear", "task_arithmetic"])
@pytest.mark.parametrize("scale", [1.0, 0.7])
def test_a_nested_merge_equals_one_merge_of_all(tmp_path: Path, name: str, scale: float) -> None:
    keys = {"lambda": scale} if name == "task_arithmetic" else {}
    base, parents = write_family(tmp_path, *random_family(3))
    old = {label: parents[label] for label in ("codegen", "codesum")}
    first = recipe(name, weights={"codegen": 0.375, "codesum": 0.625}, **keys)
    merge_grid(base, old, [MergeRequest(first, ToDirectory(tmp_path / "merge"))])
    earlier = resolve_nested_merge(first.describe(list(old)), {})
    weights = {"merge": 0.8 / keys.get("lambda", 1.0), "bugfix": 0.2}  # 0.375 and 0.625 of 0.8 are 0.3 and 0.5
    joined = {"merge": Checkpoint(tmp_path / "merge"), "bugfix": parents["bugfix"]}
    second = recipe(name, weights=weights)
    [nested], _ = merge_all(base, joined, [second])
    [one_shot], _ = merge_all(base, parents, [recipe(name, weights=TARGET)])
    assert largest_difference(nested, one_shot) < 1e-6
    resolved = resolve_nested_merge(second.describe(list(joined)), {"merge": earlier})
    assert resolved.reason == ""
    assert resolved.coefficients == pytest.approx(TARGET)
    assert resolved.order == ("codegen", "codesum", "bugfix")


def test_three_levels() -> None:
    one = resolve_nested_merge(describe("linear", weights={"a": 1.0}), {})
    two = resolve_nested_merge(describe("linear", weights={"m1": 1.0, "b": 1.0}), {"m1": one})
    three = resolve_nested_merge(describe("linear", weights={"m2": 2.0, "c": 1.0}), {"m2": two})
    assert three.coefficients == pytest.approx({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3})


@pytest.mark.parametrize("name", ["ties", "dare", "della", "slerp"])
def test_nested_merges_of_other_methods_depend_on_the_order(name: str) -> None:
    first = first_merge(name)
    assert first.reason == ""  # nothing is nested
    assert not first.is_linear
    second = resolve_nested_merge(describe("linear", weights={"m": 0.8, "bugfix": 0.2}), {"m": first})
    assert second.reason == "m is not a linear merge: what it dropped or elected cannot be reweighted"
    linear = first_merge()
    over = resolve_nested_merge(describe(name, weights={"m": 0.8, "bugfix": 0.2}), {"m": linear})
    assert over.reason == f"{name} treats an earlier merge as one more specialist, so the order of merges matters"


@pytest.mark.parametrize(
    "keys", [{"match_norm": True}, {"exclude": "embed"}, {"normalize": False, "weights": {"codegen": 1, "codesum": 1}}]
)
def test_linear_merges_that_are_no_fixed_combination(keys: dict[str, Any]) -> None:
    weights = {"weights": {"codegen": 0.375, "codesum": 0.625}}
    assert not resolve_nested_merge(describe("linear", **weights | keys), {}).is_linear


def test_specialists_are_told_apart_by_their_weights() -> None:
    """Two checkpoints called b are two specialists; one checkpoint under two names is one."""
    first = resolve_nested_merge(describe("linear", weights={"a": 0.5, "b": 0.5}), {}, {"a": "1", "b": "2"})
    both = describe("linear", weights={"ab": 0.8, "b": 0.2})
    found = resolve_nested_merge(both, {"ab": first}, {"ab": "9", "b": "3"})
    assert found.coefficients == pytest.approx({"a": 0.4, "ab/b": 0.4, "b": 0.2})
    assert found.identities == {"a": "1", "ab/b": "2", "b": "3"}
    with pytest.raises(UserError, match=r"b takes part in this merge twice \(as ab/b, with the same weights\)"):
        resolve_nested_merge(both, {"ab": first}, {"ab": "9", "b": "2"})
    other = describe("linear", weights={"ab": 0.8, "c": 0.2})
    with pytest.raises(UserError, match=r"c takes part in this merge twice \(as b, with the same weights\)"):
        resolve_nested_merge(other, {"ab": first}, {"ab": "9", "c": "2"})


def test_a_specialist_that_is_already_in() -> None:
    first = first_merge()
    with pytest.raises(UserError, match="codegen takes part in this merge twice"):
        resolve_nested_merge(describe("linear", weights={"m": 0.8, "codegen": 0.2}), {"m": first})
