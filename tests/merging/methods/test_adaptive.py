"""Adaptive coefficients: what the model in their docstring says they must be."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from src.merging.backend.numba_ops import NumbaOps
from src.merging.backend.torch_ops import TorchOps
from src.merging.methods.adaptive import adaptive_coefficients
from src.utils.errors import UserError
from tests.merging.tools import identical, merge_all, random_family, recipe, write_family

EQUAL = torch.tensor([0.5, 0.5], dtype=torch.float64)


def moments(deltas: torch.Tensor, sharpness: float) -> torch.Tensor:
    """(K, n) -> (K, K, K), straight from the definition."""
    importance = deltas.abs() ** sharpness
    return torch.einsum("ke,ie,je->kij", importance, deltas, deltas)


def harm(coefficients: torch.Tensor, deltas: torch.Tensor, sharpness: float, weights: torch.Tensor) -> torch.Tensor:
    """sum_k w_k L_k, straight from the definition."""
    importance = deltas.abs() ** sharpness
    merged = (coefficients[:, None] * deltas).sum(0)
    apart = (importance * (merged - deltas) ** 2).sum(1) / (importance * deltas**2).sum(1)
    return (weights * apart).sum()


def drawn(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(count)
    shared = torch.randn(50, generator=generator, dtype=torch.float64)
    return 0.6 * shared + torch.randn(count, 50, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("sharpness", [0.0, 1.0, 2.0])
def test_it_is_the_minimum(count: int, sharpness: float) -> None:
    deltas = drawn(count)
    weights = torch.rand(count, dtype=torch.float64) + 0.1
    found = adaptive_coefficients(moments(deltas, sharpness), weights).requires_grad_()
    [slope] = torch.autograd.grad(harm(found, deltas, sharpness, weights), found)
    assert float(slope.abs().max()) < 1e-9


def test_disjoint_updates_are_added() -> None:
    deltas = torch.tensor([[1.0, 2.0, 0.0, 0.0], [0.0, 0.0, 3.0, 0.1]], dtype=torch.float64)
    assert adaptive_coefficients(moments(deltas, 2.0), EQUAL).tolist() == pytest.approx([1, 1])


def test_equal_updates_are_averaged() -> None:
    deltas = torch.tensor([[1.0, -2.0, 3.0]] * 2, dtype=torch.float64)
    assert adaptive_coefficients(moments(deltas, 2.0), EQUAL).tolist() == pytest.approx([0.5, 0.5])


def test_gaussian_updates_of_norms_one_and_a_half() -> None:
    generator = torch.Generator().manual_seed(0)
    deltas = torch.randn(2, 1_000_000, generator=generator, dtype=torch.float64) * torch.tensor([[1.0], [0.5]])
    found = adaptive_coefficients(moments(deltas, 2.0), EQUAL).tolist()
    assert found == pytest.approx([1 / (1 + 4 / 3), 1 / (1 + 1 / 12)], abs=0.01)
    assert adaptive_coefficients(moments(deltas, 0.0), EQUAL).tolist() == pytest.approx([0.2, 0.8], abs=0.01)


def test_scale_of_all_updates_is_indifferent() -> None:
    deltas = drawn(2)
    one = adaptive_coefficients(moments(deltas, 2.0), EQUAL)
    assert torch.allclose(one, adaptive_coefficients(moments(deltas * 1e-4, 2.0), EQUAL))


def test_a_task_that_counts_for_nothing_does_not_hold_back_the_other() -> None:
    found = adaptive_coefficients(moments(drawn(2), 2.0), torch.tensor([1.0, 0.0], dtype=torch.float64))
    assert found[0] == pytest.approx(1)


def test_specialists_that_did_not_move() -> None:
    assert adaptive_coefficients(torch.zeros(2, 2, 2, dtype=torch.float64), EQUAL).tolist() == [0, 0]
    one_moved = torch.tensor([[1.0, 2.0], [0.0, 0.0]], dtype=torch.float64)
    assert adaptive_coefficients(moments(one_moved, 2.0), EQUAL).tolist() == pytest.approx([1, 0])


@pytest.mark.parametrize("count", [2, 3])
def test_a_merge_of_checkpoints(tmp_path: Path, count: int) -> None:
    base, specialists = random_family(count)
    parents = write_family(tmp_path, base, specialists)
    points = [recipe("adaptive"), recipe("adaptive", lambda_=0.5, sharpness=1.0)]
    plain, _ = merge_all(*parents, points, workers=1, ops=TorchOps())
    fused, _ = merge_all(*parents, points, workers=3, ops=NumbaOps())
    assert all(identical(left, right) for left, right in zip(plain, fused, strict=True))
    name = "model.layers.0.mlp.down_proj.weight"
    deltas = torch.stack([(one[name] - base[name]).reshape(-1) for one in specialists]).double()
    weights = torch.full((count,), 1 / count, dtype=torch.float64)
    if count == 3:  # merge.weight=0.5 leaves a quarter for each of the others
        weights = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64)
    expected = adaptive_coefficients(moments(deltas, 2.0), weights)
    merged = (plain[0][name] - base[name]).reshape(-1).double()
    assert torch.allclose(merged, (expected[:, None] * deltas).sum(0), atol=1e-6)


@pytest.mark.parametrize(("key", "value"), [("sharpness", -1), ("sharpness", "much"), ("lambda", None)])
def test_bad_values(key: str, value: object) -> None:
    with pytest.raises(UserError, match=f"merge.{key} must"):
        recipe("adaptive", **{key: value})
