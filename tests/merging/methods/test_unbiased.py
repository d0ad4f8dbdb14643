"""DARE and DELLA leave the expected task vector alone where their papers say so: 10,000 masks."""

from __future__ import annotations

import math

import pytest
import torch

from src.merging.backend.counter_rng import uniform
from src.merging.backend.della_probabilities import keep_probabilities

MASKS = 10_000


@pytest.mark.parametrize(("kind", "density"), [("dare", 0.3), ("dare", 0.9), ("della", 0.5)])
def test_mean_of_many_masks(kind: str, density: float) -> None:
    delta = torch.linspace(-1, 1, 64)
    keep = torch.full((64,), density) if kind == "dare" else keep_probabilities(delta, 64, density, 0.2)
    masks = torch.stack([uniform(seed, 0, 64) < keep for seed in range(MASKS)]).double()
    share = masks.mean(0)
    error = (share - keep.double()) / torch.sqrt(keep.double() * (1 - keep.double()) / MASKS)
    assert float(error.abs().max()) < 4.5  # 64 elements: beyond 4.5 standard errors once in 2,000 such tests
    mean = (delta * masks / keep).mean(0)
    assert torch.allclose(mean, delta.double(), atol=4.5 * math.sqrt((1 - 0.3) / 0.3 / MASKS))
