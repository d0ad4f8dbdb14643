"""PCB-Merging: its authors' steps on the flattened task vectors, in float64."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from src.merging.backend.numba_ops import NumbaOps
from src.merging.tensors.parent_model import ParentModel
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


def norm(values: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
    return (values - low) / (high - low)


def clamped(values: NDArray[np.float64], smallest: float, largest: float) -> NDArray[np.float64]:
    ordered, n = np.sort(values, axis=1), values.shape[1]
    return np.clip(values, ordered[:, [int(n * smallest)]], ordered[:, [int(n * (1 - largest) - 1)]])


def balanced(deltas: NDArray[np.float64], density: float, factors: list[float]) -> NDArray[np.float64]:
    """`pcb-merging.py` of the authors: (K, n) task vectors to their balanced mean (n,)."""
    sizes = clamped(np.abs(deltas), 0.0001, 0.0001)
    balance = np.exp(len(deltas) * norm(sizes) ** 2) * np.tanh(deltas * deltas.sum(axis=0))
    scale = norm(clamped(balance, 1 - density, 0.0))
    kept = np.array(factors)[:, None] * np.sign(deltas) * sizes * scale
    merged: NDArray[np.float64] = kept.sum(axis=0) / np.maximum(scale.sum(axis=0), 1e-12)
    return merged


def flat(base: Tensors, one: Tensors) -> NDArray[np.float64]:
    return np.concatenate([(one[n].double() - base[n].double()).reshape(-1).numpy() for n in sorted(base)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("count", "density"), [(2, 0.1), (3, 0.05), (2, 0.9), (3, 1.0)])
def test_is_the_formula_of_its_authors(tmp_path: Path, dtype: torch.dtype, count: int, density: float) -> None:
    base, specialists = random_family(count, dtype)
    weights = dict(zip(("codegen", "codesum", "bugfix"), [0.5, 0.3, 0.2][:count], strict=False))
    points = [recipe("pcb", density=density, lambda_=1.2, weights=weights, dtype="float32")]
    [merged], [outcome] = merge_all(*write_family(tmp_path, base, specialists), points)
    factors = [count * weight for weight in weights.values()]
    expected = 1.2 * balanced(np.stack([flat(base, one) for one in specialists]), density, factors)
    found = flat(base, merged)
    assert np.abs(found - expected).max() < 2e-6
    whole = outcome.strength[-1]
    assert whole.density["codegen"] <= density
    if density <= 0.1:  # of more, some are 0, or would be at a balance below 0
        assert whole.density["codegen"] == pytest.approx(density, abs=0.002)
    assert whole.merged == pytest.approx(float(np.linalg.norm(expected)), rel=1e-5)


def test_by_hand(tmp_path: Path) -> None:
    """Ten elements, of which the quantiles clamp only the largest to the second largest; of each, the top half.

    Both tasks move element 0 by 2 and 1 the same way; element 1 is the first task's alone, element 9 the second's.
    """
    first = torch.tensor([2.0, 3.0, 0, 0, 0, 0, 0, 0, 0, 0])
    second = torch.tensor([1.0, 0, 0, 0, 0, 0, 0, 0, 0, -2.0])
    base = torch.full((10,), 4.0)
    parents = write_family(tmp_path, {"a": base}, [{"a": base + first}, {"a": base + second}])
    [merged], _ = merge_all(*parents, [recipe("pcb", density=0.2)])
    # |first| clamped: 2, 2, 0 ...; intra exp(2) on both, inter tanh(2 * 3) and tanh(3 * 3)
    # the cut is the ninth smallest of ten: element 0 of the first (tanh 6 < tanh 9), of the second element 0 too
    # (tanh(1 * 3) exp(2) against tanh(4) exp(2)), so each keeps its own element alone, at its clamped size
    expected = torch.zeros(10)
    expected[1], expected[9] = 2.0, -1.0
    assert torch.allclose(merged["a"] - base, expected, atol=1e-6)
    [wider], _ = merge_all(*parents, [recipe("pcb", density=0.3)])
    # the cut is 0 now: shares are the balances over the largest
    one, other = math.tanh(6) / math.tanh(9), math.tanh(3) / math.tanh(4)
    expected[0] = (2 * one + 1 * other) / (one + other)
    assert torch.allclose(wider["a"] - base, expected, atol=1e-6)


def test_compiled_and_a_grid_that_looks_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    every = ParentModel.map_tensors

    def counted(self: ParentModel, work: Any, description: str, *rest: Any) -> list[Any]:
        looks.append(description)
        return every(self, work, description, *rest)

    monkeypatch.setattr(ParentModel, "map_tensors", counted)
    parents = write_family(tmp_path, *random_family(dtype=torch.bfloat16))
    points = [recipe("pcb", weight=w, lambda_=s) for w in (0.2, 0.5) for s in (1.0, 1.2)]
    points.append(recipe("pcb", match_norm=True))
    plain, _ = merge_all(*parents, points)
    assert len(looks) == 6  # three passes for the sizes, three for the balances
    fused, _ = merge_all(*parents, points, workers=3, ops=NumbaOps())
    assert all(identical(left, right) for left, right in zip(plain, fused, strict=True))
    [alone], _ = merge_all(*parents, points[1:2])
    assert identical(alone, plain[1])


def test_still_specialists_and_excluded_tensors(tmp_path: Path) -> None:
    base, [first, _] = random_family()
    assert identical(merge_one(tmp_path / "none", base, [base, base], recipe("pcb")), base)
    merged = merge_one(tmp_path / "one", base, [first, base], recipe("pcb", exclude="norm|embed", density=0.5))
    assert torch.equal(merged["model.embed_tokens.weight"], base["model.embed_tokens.weight"])
    names = [name for name in sorted(base) if "norm" not in name and "embed" not in name]
    deltas = np.stack([flat({n: base[n] for n in names}, {n: one[n] for n in names}) for one in (first, base)])
    sizes = clamped(np.abs(deltas[:1]), 0.0001, 0.0001)
    balance = np.exp(2 * norm(sizes) ** 2) * np.tanh(deltas[:1] ** 2)
    kept = norm(clamped(balance, 0.5, 0.0)) > 0  # alone, it keeps its own values
    expected = (2 * 0.5 * np.sign(deltas[:1]) * sizes * kept)[0]
    found = flat({n: base[n] for n in names}, {n: merged[n] for n in names})
    assert np.abs(found - expected).max() < 2e-6
    assert largest_difference(merged, base) > 0


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"density": 0}, "merge.density must be above 0, got 0"),
        ({"density": 1.5}, "merge.density must be at most 1, got 1.5"),
        ({"lambda": None}, "merge.lambda must be a number, got None"),
        ({"engine": "mergekit"}, "mergekit has no pcb"),
    ],
)
def test_bad_values(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        recipe("pcb", **keys)
