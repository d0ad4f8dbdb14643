"""`merge.engine=mergekit` agrees with ours where both have a method, and opens up the rest by name."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from src.stages.build import build
from src.stages.job import compose_job
from src.utils.errors import UserError
from tests.merging.tools import (
    Tensors,
    identical,
    largest_difference,
    merge_all,
    merge_one,
    random_family,
    recipe,
    write_family,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from mergekit.merge_methods import registered_methods
    from mergekit.merge_methods.api import merge_tensors

EXACT = ["linear", "task_arithmetic", "ties", "breadcrumbs", "breadcrumbs_ties"]
CLOSE: list[tuple[str, dict[str, Any]]] = [
    ("nuslerp", {"space": "deltas"}),
    ("nuslerp", {"space": "weights", "by_row": True}),
    ("model_stock", {}),
    ("sce", {}),
    ("karcher", {"space": "weights"}),
]


@pytest.mark.parametrize("name", EXACT)
def test_same_bits(tmp_path: Path, name: str) -> None:
    parents = write_family(tmp_path, *random_family())
    [ours, theirs], _ = merge_all(*parents, [recipe(name, weight=0.3), recipe(name, weight=0.3, engine="mergekit")])
    assert identical(ours, theirs)


@pytest.mark.parametrize(("name", "keys"), CLOSE)
def test_same_up_to_rounding(tmp_path: Path, name: str, keys: dict[str, Any]) -> None:
    parents = write_family(tmp_path, *random_family())
    [ours, theirs], _ = merge_all(*parents, [recipe(name, **keys), recipe(name, engine="mergekit", **keys)])
    assert largest_difference(ours, theirs) < 5e-6


@pytest.mark.parametrize("name", ["dare", "dare_ties", "della", "della_linear"])
def test_random_methods_have_their_own_masks_of_the_same_strength(tmp_path: Path, name: str) -> None:
    parents = write_family(tmp_path, *random_family())
    points = [recipe(name, engine=engine, seed=seed) for engine, seed in (("own", 0), ("mergekit", 0), ("mergekit", 0))]
    points.append(recipe(name, engine="mergekit", seed=1))
    [ours, theirs, again, other], outcomes = merge_all(*parents, points)
    assert identical(theirs, again)
    assert largest_difference(theirs, other) > 0.01
    assert largest_difference(theirs, ours) > 0.01
    strengths = [outcome.strength[-1].merged for outcome in outcomes]
    assert strengths == pytest.approx([strengths[0]] * 4, rel=0.02)


def test_the_random_numbers_of_others_are_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    merge_one(tmp_path, *random_family(), recipe("dare", engine="mergekit"))
    assert torch.equal(torch.rand(3), expected)


def everything() -> list[tuple[str, dict[str, Any]]]:
    parameters: dict[str, dict[str, Any]] = {"nearswap": {"t": 0.01}, "passthrough": {}}
    return [(one.spec.name, parameters.get(one.spec.name, {})) for one in registered_methods()]


@pytest.mark.parametrize(("name", "parameters"), everything())
def test_every_method_it_knows(tmp_path: Path, name: str, parameters: dict[str, Any]) -> None:
    base, specialists = random_family()
    one = recipe("mergekit", name=name, parameters=parameters, weight=0.3)
    if name == "passthrough":  # copies the one model it is given
        assert identical(merge_one(tmp_path, base, specialists[:1], one), specialists[0])
        return
    merged = merge_one(tmp_path, base, specialists, one)
    assert merged.keys() == base.keys()
    assert all(bool(torch.isfinite(tensor).all()) for tensor in merged.values())
    assert largest_difference(merged, base) > 0


def test_arithmetic_is_in_the_stored_dtype(tmp_path: Path) -> None:
    base, specialists = random_family(dtype=torch.bfloat16)
    merged = merge_one(tmp_path, base, specialists, recipe("task_arithmetic", weight=0.3, engine="mergekit"))
    for name in base:
        inputs = [base[name], *(one[name] for one in specialists)]
        expected = merge_tensors(inputs, "task_arithmetic", parameters={"weight": [0.3, 0.7]}, base_index=0)
        assert torch.equal(merged[name], expected)


def test_two_specialists_as_base_and_other(tmp_path: Path) -> None:
    base, specialists = random_family()
    merged = merge_one(tmp_path, base, specialists, recipe("mergekit", name="slerp", weight=0.3))
    for name in base:
        expected = merge_tensors([one[name] for one in specialists], "slerp", parameters={"t": 0.7}, base_index=0)
        assert torch.allclose(merged[name], expected)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"name": "tise"}, "unknown mergekit method 'tise', did you mean 'ties'"),
        ({"name": "ties", "parameters": {"densty": 1}}, "mergekit's ties has no densty; it takes"),
        ({"name": "nearswap"}, "mergekit refuses merge=nearswap: Missing required parameter"),
        ({"name": "ties", "parameters": {"density": "x"}}, "mergekit refuses merge=ties"),
    ],
)
def test_what_it_refuses(tmp_path: Path, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        merge_one(tmp_path, *random_family(), recipe("mergekit", **keys))


@pytest.mark.parametrize(
    ("name", "keys", "message"),
    [
        ("adaptive", {}, "merge.engine=mergekit: .*adaptive"),
        ("karcher", {}, "merge.engine=mergekit: .*karcher"),
        ("dare", {"rescale": "density"}, "merge.rescale=density"),
        ("mergekit", {"parameters": 3}, "merge.parameters must be a mapping.*, got 3"),
        ("mergekit", {"seed": "x"}, "merge.seed must be an integer, got 'x'"),
    ],
)
def test_what_it_does_not_have(name: str, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        recipe(name, engine="mergekit", **keys)


def test_needs_no_base_where_it_can_do_without(tmp_path: Path) -> None:
    base, specialists = random_family()
    elsewhere: Tensors = {name: tensor * 0.9 for name, tensor in base.items()}
    one = recipe("nuslerp", space="weights", engine="mergekit")
    merged = merge_one(tmp_path / "a", base, specialists, one)
    assert identical(merged, merge_one(tmp_path / "b", elsewhere, specialists, one))


def test_the_command_of_the_yaml(tmp_path: Path) -> None:
    """nearswap by hand: parameters of two tensors nearer than t are swapped towards the second (mergekit's formula)."""
    job = compose_job("merge", ["merge=mergekit", "merge.name=nearswap", "merge.parameters={t: 0.01}"])
    one = build(job.cfg.merge)
    base, specialists = random_family()
    merged = merge_one(tmp_path, base, specialists, one)
    first, second = specialists
    for name, tensor in merged.items():
        difference = second[name] - first[name]
        share = (0.01 / difference.abs()).nan_to_num(posinf=1.0).clamp(0, 1)
        assert torch.allclose(tensor, first[name] + share * difference, atol=1e-6)
