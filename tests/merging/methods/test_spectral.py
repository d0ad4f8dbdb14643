"""TSV-Merge and Iso-C: what their decompositions promise."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from src.merging.methods.spectral import iso_merge, tsv_merge
from src.utils.errors import UserError
from tests.merging.tools import largest_difference, merge_all, merge_one, random_family, recipe, write_family


def rank_one(left: list[float], right: list[float], scale: float) -> torch.Tensor:
    return scale * torch.outer(torch.tensor(left), torch.tensor(right))


def test_tsv_keeps_tasks_that_share_no_directions() -> None:
    deltas = [rank_one([1, 0, 0, 0], [0, 1, 0, 0], 3.0), rank_one([0, 0, 1, 0], [1, 0, 0, 0], 2.0)]
    assert torch.allclose(tsv_merge(deltas), deltas[0] + deltas[1], atol=1e-6)


def test_tsv_separates_tasks_that_share_a_direction() -> None:
    """Outputs with cosine 0.8 are pushed apart evenly, to right angles: each turns by (90 - 36.87) / 2 degrees."""
    deltas = [rank_one([1, 0, 0, 0], [0, 1, 0, 0], 1.0), rank_one([0.8, 0.6, 0, 0], [1, 0, 0, 0], 1.0)]
    merged = tsv_merge(deltas)
    first, second = merged[:, 1], merged[:, 0]  # what each task's input is mapped to
    assert float(first @ second) == pytest.approx(0, abs=1e-6)
    assert float(first.norm()) == pytest.approx(1, abs=1e-5)
    turned = math.cos(math.radians((90 - math.degrees(math.acos(0.8))) / 2))
    assert float(first @ torch.tensor([1.0, 0, 0, 0])) == pytest.approx(turned, abs=1e-6)


def test_tsv_truncates_to_a_share_of_the_rank() -> None:
    torch.manual_seed(0)
    assert int(torch.linalg.matrix_rank(tsv_merge([torch.randn(9, 12) for _ in range(4)]))) == 4 * (9 // 4)
    alone = torch.randn(5, 7)
    assert torch.allclose(tsv_merge([alone]), alone, atol=1e-5)


def test_iso_has_a_flat_spectrum() -> None:
    torch.manual_seed(0)
    deltas = [torch.randn(6, 9), torch.randn(6, 9)]
    total = torch.linalg.svdvals(deltas[0] + deltas[1])
    merged = torch.linalg.svdvals(iso_merge(deltas))
    assert torch.allclose(merged, total.mean().expand(6), atol=1e-5)


@pytest.mark.parametrize("name", ["tsv", "iso_c"])
def test_layers_by_spectrum_the_rest_by_sum(tmp_path: Path, name: str) -> None:
    base, specialists = random_family()
    parents = write_family(tmp_path, base, specialists)
    [ours, plain], _ = merge_all(*parents, [recipe(name, lambda_=0.7), recipe("task_arithmetic", lambda_=0.7)])
    for tensor in ("model.embed_tokens.weight", "model.norm.weight", "model.layers.0.self_attn.q_proj.bias"):
        assert torch.equal(ours[tensor], plain[tensor])
    tensor = "model.layers.1.mlp.down_proj.weight"
    deltas = [one[tensor] - base[tensor] for one in specialists]  # coefficients 1/2 of two: the published methods
    merge = tsv_merge if name == "tsv" else iso_merge
    assert torch.allclose(ours[tensor], base[tensor] + 0.7 * merge(deltas), atol=1e-6)


@pytest.mark.parametrize("name", ["tsv", "iso_c"])
@pytest.mark.parametrize(
    ("tensor", "shape"),
    [
        ("encoder.block.1.layer.0.SelfAttention.q.weight", (8, 12)),  # T5
        ("bert.encoder.layer.3.attention.self.query.weight", (8, 12)),
        ("model.layers.2.mlp.experts.gate_up_proj", (3, 8, 12)),
        ("pooler.dense.weight", (8, 12)),
        ("model.layers.2.conv.weight", (8, 12, 3)),
    ],
)
def test_every_naming_of_layers_and_experts_stacked(
    tmp_path: Path, name: str, tensor: str, shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    base, *specialists = [{tensor: torch.randn(shape)} for _ in range(3)]
    specialists = [{tensor: base[tensor] + 0.1 * one[tensor]} for one in specialists]
    [ours], [outcome] = merge_all(*write_family(tmp_path, base, specialists), [recipe(name, lambda_=0.4)])
    deltas = [one[tensor] - base[tensor] for one in specialists]
    merge = tsv_merge if name == "tsv" else iso_merge
    if tensor.startswith("pooler") or "conv" in tensor:
        expected = 0.5 * (deltas[0] + deltas[1])
        assert outcome.fallbacks == [tensor]
    else:
        experts = [delta if delta.dim() == 3 else delta[None] for delta in deltas]
        expected = torch.stack([merge(pair) for pair in zip(*experts, strict=True)]).reshape(shape)
        assert outcome.fallbacks == []
    assert torch.allclose(ours[tensor], base[tensor] + 0.4 * expected, atol=1e-6)


@pytest.mark.parametrize("name", ["tsv", "iso_c"])
def test_one_specialist_at_full_weight(tmp_path: Path, name: str) -> None:
    base, specialists = random_family()
    both = {"codegen": 0.5, "codesum": 0.0}
    merged = merge_one(tmp_path, base, specialists, recipe(name, weights=both))
    if name == "tsv":  # half of its singular triplets survive
        tensor = "model.layers.1.mlp.down_proj.weight"
        assert int(torch.linalg.matrix_rank(merged[tensor] - base[tensor], rtol=1e-3)) == 12
    assert largest_difference(merged, base) > 0


@pytest.mark.parametrize("name", ["tsv", "iso_c"])
def test_bad_values(name: str) -> None:
    with pytest.raises(UserError, match=r"merge\.lambda must be a number"):
        recipe(name, lambda_=None)
