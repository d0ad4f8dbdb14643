"""WUDI-Merging: its authors' loop step by step, and the minimum that the loop approaches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from src.merging.methods import wudi
from src.merging.methods.wudi import wudi_adam, wudi_minimum
from src.utils.errors import UserError
from tests.merging.tools import largest_difference, merge_all, merge_one, random_family, recipe, write_family

MATRIX = "model.layers.1.mlp.down_proj.weight"


def task_vectors(count: int = 3, shape: tuple[int, int] = (8, 12)) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [0.1 / k * torch.randn(shape, generator=generator, dtype=torch.float64) for k in range(1, count + 1)]


def loss(merged: torch.Tensor, deltas: list[torch.Tensor], shares: list[float]) -> torch.Tensor:
    parts = [((merged - d) @ d.T).square().sum() / d.square().sum() for d in deltas]
    return torch.stack([share * part for share, part in zip(shares, parts, strict=True)]).sum()


@pytest.mark.parametrize("shape", [(8, 12), (12, 8)])
def test_adam_is_the_loop_of_its_authors(shape: tuple[int, int]) -> None:
    """Autograd on the loss itself, from the sum of the task vectors."""
    deltas = task_vectors(3, shape)
    merged = torch.nn.Parameter(deltas[0] + deltas[1] + deltas[2])
    adam = torch.optim.Adam([merged], lr=1e-3, weight_decay=0)
    for _ in range(40):
        adam.zero_grad()
        loss(merged, deltas, [1.0, 1.0, 1.0]).backward()
        adam.step()
    third = [1 / 3] * 3
    assert torch.allclose(wudi_adam(deltas, third, 40, 1e-3), merged, atol=1e-9)
    single = wudi_adam([delta.float() for delta in deltas], third, 40, 1e-3)
    assert torch.allclose(single, merged.float(), atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 12), (12, 8)])
def test_the_minimum_is_the_pseudo_inverse(shape: tuple[int, int]) -> None:
    deltas, shares = task_vectors(3, shape), [0.5, 0.3, 0.2]
    grams = [d.numpy().T @ d.numpy() / np.square(d.numpy()).sum() for d in deltas]
    left = sum(share * gram for share, gram in zip(shares, grams, strict=True))
    right = sum(share * d.numpy() @ gram for share, d, gram in zip(shares, deltas, grams, strict=True))
    expected = right @ np.linalg.pinv(left, rcond=1e-12)
    assert np.allclose(wudi_minimum(deltas, shares).numpy(), expected, atol=1e-6)


def test_the_minimum_of_adapters_is_no_noise() -> None:
    """Rank 1 in 40 inputs: float32 squares would divide rounding errors by rounding errors."""
    torch.manual_seed(0)
    deltas = [torch.outer(torch.randn(30), torch.randn(40)) for _ in range(2)]
    wide = [delta.double().numpy() for delta in deltas]
    grams = [d.T @ d / np.square(d).sum() for d in wide]
    right = sum(d @ gram for d, gram in zip(wide, grams, strict=True))
    expected = right @ np.linalg.pinv(sum(grams), rcond=1e-9)
    found = wudi_minimum(deltas, [0.5, 0.5]).numpy()
    assert np.linalg.norm(found - expected) < 1e-6 * np.linalg.norm(expected)
    assert np.linalg.matrix_rank(found, rtol=1e-5) == 2


def test_the_minimum_is_where_adam_goes() -> None:
    deltas, shares = task_vectors(2), [0.5, 0.5]
    lowest = loss(wudi_minimum(deltas, shares), deltas, shares)
    losses = [loss(wudi_adam(deltas, shares, steps, 1e-3), deltas, shares) for steps in (1, 30, 300, 3000)]
    assert losses == sorted(losses, reverse=True)
    assert lowest < losses[-1] < 1.0001 * lowest
    assert float((wudi_adam(deltas, shares, 3000, 1e-3) - wudi_minimum(deltas, shares)).abs().max()) < 1e-4


def test_by_hand() -> None:
    """One output, two inputs. Tasks on different inputs both keep all of their update; on the same input they meet.

    D = (a) and (b) on one input: L = (m - a)^2 w_1 + (m - b)^2 w_2, since |D_i| cancels, hence m = w_1 a + w_2 b.
    """
    apart = [torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 3.0]])]
    assert wudi_minimum(apart, [0.9, 0.1]).tolist() == [pytest.approx([2, 3], abs=1e-6)]
    together = [torch.tensor([[2.0, 0.0]]), torch.tensor([[4.0, 0.0]])]
    assert wudi_minimum(together, [0.75, 0.25]).tolist() == [pytest.approx([2.5, 0])]
    # one step of Adam moves every element that has a gradient by the step size, whatever the gradient's size
    stepped = wudi_adam(together, [0.5, 0.5], 1, 0.01)
    assert stepped.tolist() == [pytest.approx([2.0 + 4.0 - 0.01, 0])]


def test_identical_task_vectors_and_none() -> None:
    delta = task_vectors(1)[0]
    assert torch.allclose(wudi_minimum([delta, delta, delta], [0.2, 0.3, 0.5]), delta, atol=1e-6)
    still = torch.zeros_like(delta)  # did not move: it has no say
    assert torch.allclose(wudi_minimum([delta, still], [0.5, 0.5]), delta, atol=1e-6)
    assert not wudi_minimum([still, still], [0.5, 0.5]).any()
    assert not wudi_adam([still, still], [0.5, 0.5], 3, 1e-3).any()
    assert torch.allclose(wudi_minimum([delta, task_vectors(2)[1]], [1.0, 0.0]), delta, atol=1e-6)


@pytest.mark.parametrize("iterations", [5, None])
def test_layers_by_disturbance_the_rest_by_mean(tmp_path: Path, iterations: int | None) -> None:
    base, specialists = random_family(dtype=torch.bfloat16)
    experts = "model.layers.2.mlp.experts.gate_up_proj"
    torch.manual_seed(0)
    for parent in (base, *specialists):
        parent[experts] = torch.randn(3, 8, 12).bfloat16() if parent is base else base[experts] + torch.randn(3, 8, 12)
        parent[experts] = parent[experts].bfloat16()
    keys = {"iterations": iterations, "step_size": 1e-3, "dtype": "float32"}
    weights = {"codegen": 0.6, "codesum": 1.4}  # only their ratio matters
    points = [recipe("wudi", lambda_=0.8, weights=weights, **keys), recipe("task_arithmetic", weight=0.3, lambda_=0.8)]
    [ours, plain], [outcome, _] = merge_all(*write_family(tmp_path, base, specialists), points)
    for name, tensor in base.items():
        if name in ("model.embed_tokens.weight", "model.norm.weight", "model.layers.0.self_attn.q_proj.bias"):
            assert torch.allclose(ours[name], plain[name].float(), rtol=1e-2)
            continue
        deltas = [(one[name].float() - tensor.float()).reshape(-1, *tensor.shape[-2:]) for one in specialists]
        pairs = list(zip(*deltas, strict=True))
        if iterations is None:
            merged = [wudi_minimum(pair, [0.3, 0.7]).float() for pair in pairs]
        else:
            merged = [wudi_adam(pair, [0.3, 0.7], iterations, 1e-3) for pair in pairs]
        expected = tensor.float() + 0.8 * torch.stack(merged).reshape(tensor.shape)
        assert torch.allclose(ours[name], expected, atol=1e-6)
    assert outcome.fallbacks == ["model.embed_tokens.weight"]


def test_a_grid_over_lambda_merges_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(wudi, "wudi_minimum", lambda *args: calls.append(args) or wudi_minimum(*args))
    base, specialists = random_family()
    points = [recipe("wudi", iterations=None, lambda_=scale) for scale in (0.5, 1.0)]
    [half, whole], _ = merge_all(*write_family(tmp_path, base, specialists), points)
    assert len(calls) == 2
    middle = {name: (base[name] + whole[name]) / 2 for name in base}
    assert largest_difference(half, middle) < 1e-6


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"iterations": 0}, "merge.iterations must be at least 1, got 0"),
        ({"iterations": 2.5}, "merge.iterations must be an integer"),
        ({"step_size": 0}, "merge.step_size must be above 0, got 0"),
        ({"weight": 1.5}, r"merge=wudi takes coefficients of at least 0, one of them positive, got \[1.5, -0.5\]"),
        ({"weights": {"codegen": 1, "codesum": -1}}, "sum of the coefficients, which is zero"),
    ],
)
def test_bad_values(tmp_path: Path, keys: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        merge_one(tmp_path, *random_family(), recipe("wudi", **keys))
