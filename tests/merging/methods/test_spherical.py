"""Means on the sphere: against mergekit's operators, which hold whole tensors, and against plane geometry."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from src.merging.backend.numba_ops import NumbaOps
from src.merging.backend.torch_ops import TorchOps
from src.merging.methods.spherical import karcher_coefficients, model_stock_coefficients, slerp_coefficients
from src.merging.recipe import Recipe
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
    from mergekit.merge_methods.api import merge_tensors
    from mergekit.merge_methods.slerp import slerp as mergekit_slerp

ROUND = ["slerp", "nuslerp", "karcher", "multislerp"]


def reference(name: str, base: Tensors, specialists: list[Tensors], with_base: bool, **parameters: Any) -> Tensors:
    merged = {}
    for tensor in base:
        inputs = [one[tensor] for one in ([base] if with_base else []) + specialists]
        merged[tensor] = merge_tensors(inputs, name, parameters=parameters, base_index=0 if with_base else None)
    return merged


@pytest.mark.parametrize("space", ["deltas", "weights"])
@pytest.mark.parametrize("by_row", [False, True])
def test_nuslerp(tmp_path: Path, space: str, by_row: bool) -> None:
    base, specialists = random_family()
    ours = merge_one(tmp_path, base, specialists, recipe("nuslerp", weight=0.3, space=space, by_row=by_row))
    theirs = reference("nuslerp", base, specialists, space == "deltas", weight=[0.3, 0.7], nuslerp_flatten=not by_row)
    assert largest_difference(ours, theirs) < 2e-6


def test_slerp_of_weights(tmp_path: Path) -> None:
    """As in mergekit, where nearly parallel weights are interpolated linearly."""
    base, specialists = random_family()
    ours = merge_one(tmp_path, base, specialists, recipe("slerp", weight=0.3, space="weights"))
    for name in base:
        first, second = (one[name].reshape(1, -1) for one in specialists)
        theirs = mergekit_slerp(torch.tensor([0.7]), first, second).reshape(base[name].shape)
        assert torch.allclose(ours[name], theirs, atol=2e-6)


def test_slerp_by_hand() -> None:
    right_angle = torch.tensor([[[4.0, 0.0], [0.0, 9.0]]], dtype=torch.float64)  # lengths 2 and 3
    half = math.sin(math.pi / 4)
    assert slerp_coefficients(right_angle, 0.5, 0.9995)[0].tolist() == pytest.approx([half, half])
    assert slerp_coefficients(right_angle, 1.0, 0.9995)[0].tolist() == pytest.approx([0, 1])
    parallel = torch.tensor([[[1.0, 2.0], [2.0, 4.0]]], dtype=torch.float64)
    assert slerp_coefficients(parallel, 0.25, 0.9995)[0].tolist() == pytest.approx([0.75, 0.25])
    no_update = torch.tensor([[[0.0, 0.0], [0.0, 4.0]]], dtype=torch.float64)
    assert slerp_coefficients(no_update, 0.25, 0.9995)[0].tolist() == pytest.approx([0.75, 0.25])


@pytest.mark.parametrize("count", [2, 3, 4])
def test_karcher(tmp_path: Path, count: int) -> None:
    base, specialists = random_family(count)
    equal = dict.fromkeys(("codegen", "codesum", "bugfix", "docs")[:count], 1.0)
    ours = merge_one(tmp_path, base, specialists, recipe("karcher", space="weights", weights=equal))
    assert largest_difference(ours, reference("karcher", base, specialists, False)) < 5e-6


def test_karcher_by_hand() -> None:
    """Three directions at right angles: their mean is the diagonal, at the mean length."""
    grams = torch.diag(torch.tensor([1.0, 4.0, 9.0], dtype=torch.float64))
    third = torch.full((3,), 1 / 3, dtype=torch.float64)
    mean_length = (1 + 2 + 3) / 3
    expected = [mean_length / math.sqrt(3) / length for length in (1, 2, 3)]
    assert karcher_coefficients(grams, third, 10, 1e-9).tolist() == pytest.approx(expected)
    # weighted, two directions: an arc cut at a quarter
    shares = torch.tensor([0.75, 0.25], dtype=torch.float64)
    found = karcher_coefficients(torch.eye(2, dtype=torch.float64), shares, 50, 1e-12)
    assert found.tolist() == pytest.approx([math.cos(math.pi / 8), math.sin(math.pi / 8)])
    assert karcher_coefficients(torch.zeros(2, 2, dtype=torch.float64), shares, 10, 1e-5).tolist() == [0, 0]


def test_karcher_of_opposite_directions_takes_one() -> None:
    opposite = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    halves = torch.tensor([0.5, 0.5], dtype=torch.float64)
    assert karcher_coefficients(opposite, halves, 10, 1e-5).tolist() == [1, 0]


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("by_row", [False, True])
def test_model_stock(tmp_path: Path, count: int, by_row: bool) -> None:
    base, specialists = random_family(count)
    ours = merge_one(tmp_path, base, specialists, recipe("model_stock", by_row=by_row))
    assert largest_difference(ours, reference("model_stock", base, specialists, True, filter_wise=by_row)) < 2e-6


def test_model_stock_by_hand() -> None:
    """cos 0.5 between two: t = 2 * 0.5 / 1.5 = 2/3, a third for each; right angles give the base back."""
    grams = torch.tensor([[[1.0, 0.5], [0.5, 1.0]], [[4.0, 0.0], [0.0, 1.0]]], dtype=torch.float64)
    assert model_stock_coefficients(grams).tolist() == [pytest.approx([1 / 3, 1 / 3]), [0, 0]]
    opposed = torch.tensor([[[1.0, -1.0], [-1.0, 1.0]]], dtype=torch.float64)  # 1 + c = 0: no finite ratio
    assert model_stock_coefficients(opposed).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("one", "count", "message"),
    [
        (recipe("slerp"), 3, "slerp takes two specialists, got 3: use merge=karcher"),
        (recipe("nuslerp"), 1, "slerp takes two specialists, got 1"),
        (recipe("model_stock"), 1, "expected at least two"),
        (recipe("karcher", weight=-0.5), 2, "takes coefficients of at least 0"),
    ],
)
def test_parents_that_do_not_suit(tmp_path: Path, one: Recipe, count: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        merge_one(tmp_path, *random_family(count), one)


@pytest.mark.parametrize(
    ("name", "keys", "message"),
    [
        ("slerp", {"space": "sphere"}, "unknown merge.space 'sphere'"),
        ("slerp", {"by_row": 1}, "merge.by_row must be true or false"),
        ("karcher", {"max_iter": 0}, "merge.max_iter must be at least 1, got 0"),
        ("karcher", {"tolerance": -1}, "merge.tolerance must be at least 0, got -1"),
        ("model_stock", {"by_row": None}, "merge.by_row must be true or false"),
    ],
)
def test_bad_values(name: str, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        recipe(name, **keys)


@pytest.mark.parametrize("name", ["slerp", "nuslerp", "karcher"])
@pytest.mark.parametrize("space", ["deltas", "weights"])
def test_identical_parents(tmp_path: Path, name: str, space: str) -> None:
    base, [first, _] = random_family(dtype=torch.bfloat16)
    assert identical(merge_one(tmp_path, base, [first, first], recipe(name, space=space, weight=0.3)), first)


def test_compiled_and_threads(tmp_path: Path) -> None:
    parents = write_family(tmp_path, *random_family(dtype=torch.bfloat16))
    points = [recipe(n, weight=0.3, space=s) for n in ROUND for s in ("deltas", "weights")]
    points += [recipe("nuslerp", by_row=True), recipe("model_stock"), recipe("model_stock", by_row=True)]
    plain, _ = merge_all(*parents, points, workers=1, ops=TorchOps())
    fused, _ = merge_all(*parents, points, workers=3, ops=NumbaOps())
    assert all(identical(left, right) for left, right in zip(plain, fused, strict=True))
