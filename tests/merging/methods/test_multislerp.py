"""Multi-SLERP: against mergekit's operator, which works in the tangent space, and by hand."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from src.merging.methods.multislerp import multislerp_coefficients
from src.utils.errors import UserError
from tests.merging.tools import identical, largest_difference, merge_all, merge_one, random_family, recipe, write_family

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from mergekit.merge_methods.api import merge_tensors

LABELS = ("codegen", "codesum", "bugfix", "docs")


@pytest.mark.parametrize("space", ["deltas", "weights"])
@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("normalize", [True, False])
def test_against_mergekit(tmp_path: Path, space: str, count: int, normalize: bool) -> None:
    base, specialists = random_family(count)
    weights = [0.3, 0.5, 0.4, -0.1][:count]
    keys: dict[str, Any] = {"space": space, "normalize": normalize}
    ours = merge_one(
        tmp_path, base, specialists, recipe("multislerp", weights=dict(zip(LABELS, weights, strict=False)), **keys)
    )
    theirs = {}
    for name in base:
        inputs = [one[name].double() for one in ([base] if space == "deltas" else []) + specialists]
        parameters = {"weight": weights, "normalize_weights": normalize}
        index = 0 if space == "deltas" else None
        theirs[name] = merge_tensors(inputs, "multislerp", parameters=parameters, base_index=index)
    assert largest_difference(ours, theirs) < 1e-6


@pytest.mark.parametrize("space", ["deltas", "weights"])
def test_engine_mergekit_is_the_same_merge(tmp_path: Path, space: str) -> None:
    parents = write_family(tmp_path, *random_family())
    points = [recipe("multislerp", weight=0.3, space=space, engine=engine) for engine in ("own", "mergekit")]
    [ours, theirs], _ = merge_all(*parents, points)
    assert largest_difference(ours, theirs) < 5e-6


def test_by_hand() -> None:
    """Two right angles of lengths 2 and 3 at 3/4 and 1/4: the direction of (3, 1), the mean length 2.25."""
    grams = torch.tensor([[4.0, 0.0], [0.0, 9.0]], dtype=torch.float64)
    found = multislerp_coefficients(grams, torch.tensor([0.75, 0.25], dtype=torch.float64))
    assert found is not None
    expected = [2.25 * 3 / math.sqrt(10) / 2, 2.25 / math.sqrt(10) / 3]
    assert found.tolist() == pytest.approx(expected)
    still = torch.tensor([[0.0, 0.0], [0.0, 9.0]], dtype=torch.float64)  # a specialist that did not move
    found = multislerp_coefficients(still, torch.tensor([0.75, 0.25], dtype=torch.float64))
    assert found is not None
    assert found.tolist() == pytest.approx([0, 0.25])
    assert multislerp_coefficients(torch.zeros_like(grams), torch.tensor([0.5, 0.5], dtype=torch.float64)) is None


def test_directions_that_cancel_give_the_mean_and_say_so(tmp_path: Path) -> None:
    base, specialists = random_family()
    delta = {name: (16 * (specialists[0][name] - base[name])).round() / 16 for name in base}  # exactly opposite
    base = {name: tensor.round() for name, tensor in base.items()}
    parents = [{name: base[name] + size * delta[name] for name in base} for size in (1, -3)]
    [merged], [outcome] = merge_all(*write_family(tmp_path, base, parents), [recipe("multislerp")])
    assert all(torch.equal(merged[name], base[name] - delta[name]) for name in base)
    assert outcome.fallbacks == sorted(name for name in base if base[name].dim() > 1)


def test_identical_parents_and_bases(tmp_path: Path) -> None:
    base, [first, _] = random_family(dtype=torch.bfloat16)
    for space in ("deltas", "weights"):
        one = recipe("multislerp", space=space, weight=0.3)
        assert identical(merge_one(tmp_path / space, base, [first, first], one), first)
        assert identical(merge_one(tmp_path / f"{space} still", base, [base, base], one), base)


def test_coefficients_that_sum_to_zero() -> None:
    zero = {"codegen": 1.0, "codesum": -1.0}
    with pytest.raises(UserError, match=r"merge=multislerp divides by the sum of the coefficients, which is zero"):
        recipe("multislerp", weights=zero).coefficients(["codegen", "codesum"])
    assert recipe("multislerp", weights=zero, normalize=False).coefficients(["codegen", "codesum"]) == zero
