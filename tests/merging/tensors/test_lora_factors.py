"""Factors of updates: the nearest of lower rank, by whichever way."""

from __future__ import annotations

import pytest
import torch

from src.merging.tensors.lora_factors import Factors, add, factorize, pack, pad, singular_values, truncate, unpack

GENERATOR = torch.Generator().manual_seed(0)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=GENERATOR, dtype=torch.float64)


def nearest(whole: torch.Tensor, rank: int) -> torch.Tensor:
    """Eckart-Young by the dense decomposition."""
    u, s, v = torch.linalg.svd(whole, full_matrices=False)
    return (u[..., :rank] * s[..., None, :rank]) @ v[..., :rank, :]


@pytest.mark.parametrize("shape", [(9, 14), (14, 9), (3, 9, 14)])
def test_a_lower_rank(shape: tuple[int, ...]) -> None:
    update = Factors(random(*shape[:-1], 5), random(*shape[:-2], 5, shape[-1]), 0.7)
    expected = nearest(update.product(), 3)
    assert torch.allclose(truncate(update, 3).product(), expected)
    assert torch.allclose(factorize(update.product(), 3).product(), expected)
    assert torch.allclose(singular_values(update), torch.linalg.svdvals(update.product())[..., :5])


@pytest.mark.parametrize("shape", [(100, 180), (180, 100), (2, 100, 180)])
@pytest.mark.parametrize("noise", [0.0, 0.2, 1.0])
def test_few_of_many_by_subspace_iteration(shape: tuple[int, ...], noise: float) -> None:
    """As close as the nearest, also where the spectrum is flat and the vectors are not unique."""
    whole = random(*shape[:-1], 4) @ random(*shape[:-2], 4, shape[-1]) + noise * random(*shape)
    best = float((whole - nearest(whole, 6)).norm())
    assert float((whole - factorize(whole, 6).product()).norm()) == pytest.approx(best, rel=1e-4, abs=1e-6)


def test_nothing_has_any_rank() -> None:
    assert float(factorize(torch.zeros(100, 120), 4).product().norm()) == 0


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("experts", [None, 3])
def test_as_stored_and_back(flipped: bool, experts: int | None) -> None:
    down, up = random(4 * (experts or 1), 7), random(5, 4 * (experts or 1))
    update = unpack(down, up, 2.0, flipped, experts)
    again = pack(update, flipped)
    assert torch.equal(again[0], down)
    assert torch.equal(again[1], up * 2.0)


def test_sums_and_padding() -> None:
    updates = [Factors(random(5, 2), random(2, 7), 0.5), Factors(random(5, 3), random(3, 7))]
    total = add(updates, [0.3, -2.0])
    assert total.rank == 5
    assert torch.allclose(total.product(), 0.3 * updates[0].product() - 2 * updates[1].product())
    assert torch.allclose(pad(total, 8).product(), total.product())
    assert pad(total, 8).rank == 8
