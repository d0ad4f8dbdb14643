"""TSV-Merge, Iso-C and Iso-CTS: what their decompositions promise, and the authors' formulas in float64."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from src.merging.methods.spectral import iso_cts_merge, iso_merge, tsv_merge
from src.utils.errors import UserError
from tests.merging.tools import largest_difference, merge_all, merge_one, random_family, recipe, write_family

MERGES = {"tsv": tsv_merge, "iso_c": iso_merge, "iso_cts": partial(iso_cts_merge, common=0.8)}
NAMES = list(MERGES)


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


def test_iso_leaves_directions_alone_that_no_task_has() -> None:
    deltas = [rank_one([1, 0, 0, 0], [0, 1, 0, 0], 3.0), rank_one([0, 0, 1, 0], [1, 0, 0, 0], 1.0)]
    expected = rank_one([1, 0, 0, 0], [0, 1, 0, 0], 2.0) + rank_one([0, 0, 1, 0], [1, 0, 0, 0], 2.0)
    for merge in (iso_merge, partial(iso_cts_merge, common=0.5)):
        assert torch.allclose(merge(deltas), expected, atol=1e-6)
        assert not merge([torch.zeros(3, 4)] * 2).any()


def test_iso_cts_by_hand() -> None:
    """The sum is diag(4, 3, 2, 0): its first two directions are common; the first task adds the fourth, though the
    second task cancels it in the sum, and the second task adds the third. The mean of 4, 3, 1 and 2 is 2.5.
    """
    deltas = [torch.diag(torch.tensor([4.0, 3.0, 0.0, 1.0])), torch.diag(torch.tensor([0.0, 0.0, 2.0, -1.0]))]
    assert torch.allclose(iso_cts_merge(deltas, 0.5), 2.5 * torch.eye(4), atol=1e-6)
    assert torch.allclose(iso_merge(deltas), torch.diag(torch.tensor([3.0, 3.0, 3.0, 0.0])), atol=1e-6)


@pytest.mark.parametrize("shape", [(12, 20), (20, 12)])
@pytest.mark.parametrize(("common", "count", "shared"), [(0.8, 3, 9), (0.5, 3, 6), (0.0, 3, 0), (0.7, 2, 8)])
def test_iso_cts_is_the_formula_of_its_authors(shape: tuple[int, int], common: float, count: int, shared: int) -> None:
    """2502.04959, section 4.2, in float64; `shared` directions: 12 times `common`, so that the rest is divisible."""
    torch.manual_seed(0)
    deltas = [torch.randn(shape, dtype=torch.float64) for _ in range(count)]
    wide = [delta.numpy() for delta in deltas]
    each = (12 - shared) // count
    u, s, vt = np.linalg.svd(sum(wide), full_matrices=False)
    left, values, right = [u[:, :shared]], [s[:shared]], [vt[:shared]]
    for delta in wide:
        residual = delta - u[:, :shared] @ u[:, :shared].T @ delta
        ut, st, vtt = np.linalg.svd(residual, full_matrices=False)
        left.append(ut[:, :each])
        values.append(st[:each])
        right.append(vtt[:each])
    p, _, qt = np.linalg.svd(np.concatenate(left, axis=1), full_matrices=False)
    x, _, yt = np.linalg.svd(np.concatenate(right, axis=0), full_matrices=False)
    expected = np.concatenate(values).mean() * (p @ qt) @ (x @ yt)
    assert np.allclose(iso_cts_merge(deltas, common).numpy(), expected, atol=1e-12)
    assert np.allclose(iso_cts_merge([delta.float() for delta in deltas], common).numpy(), expected, atol=1e-4)


def test_iso_cts_with_all_directions_common_is_iso_c() -> None:
    torch.manual_seed(0)
    deltas = [torch.randn(6, 9), torch.randn(6, 9)]
    assert torch.allclose(iso_cts_merge(deltas, 1.0), iso_merge(deltas), atol=1e-5)


def test_iso_cts_of_more_tasks_than_directions() -> None:
    torch.manual_seed(0)
    merged = iso_cts_merge([torch.randn(2, 5) for _ in range(4)], 0.0)
    assert torch.linalg.svdvals(merged).tolist() == pytest.approx([float(torch.linalg.svdvals(merged).mean())] * 2)


@pytest.mark.parametrize("name", NAMES)
def test_coefficients_scale_the_task_vectors(tmp_path: Path, name: str) -> None:
    base, specialists = random_family(3)
    tensor = "model.layers.1.mlp.down_proj.weight"
    deltas = [one[tensor] - base[tensor] for one in specialists]
    weights = [{"codegen": 0.7, "codesum": 0.2, "bugfix": -0.1}, {"codegen": 0.5, "codesum": 0.0, "bugfix": 0.5}]
    merged, _ = merge_all(
        *write_family(tmp_path, base, specialists), [recipe(name, weights=w, lambda_=0.7) for w in weights]
    )
    for one, by_label in zip(merged, weights, strict=True):
        expected = MERGES[name]([3 * c * delta for c, delta in zip(by_label.values(), deltas, strict=True)])
        assert torch.allclose(one[tensor], base[tensor] + 0.7 * expected, atol=2e-6)


def test_a_grid_decomposes_every_tensor_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, ...]] = []
    svd = torch.linalg.svd

    def counted(matrix: torch.Tensor, full_matrices: bool) -> tuple[torch.Tensor, ...]:
        calls.append(tuple(matrix.shape))
        return tuple(svd(matrix, full_matrices=full_matrices))

    monkeypatch.setattr(torch.linalg, "svd", counted)
    parents = write_family(tmp_path, *random_family())
    merge_all(*parents, [recipe("tsv", weight=w, lambda_=s) for w in (0.2, 0.5, 0.7) for s in (0.5, 1.0)])
    assert len(calls) == 2 * 4  # in two matrices: both task vectors, left and right bases
    calls.clear()
    merge_all(*parents, [recipe("iso_c", lambda_=s) for s in (0.25, 0.5, 1.0)])
    assert len(calls) == 2


@pytest.mark.parametrize("name", NAMES)
def test_layers_by_spectrum_the_rest_by_sum(tmp_path: Path, name: str) -> None:
    base, specialists = random_family()
    parents = write_family(tmp_path, base, specialists)
    [ours, plain], _ = merge_all(*parents, [recipe(name, lambda_=0.7), recipe("task_arithmetic", lambda_=0.7)])
    for tensor in ("model.embed_tokens.weight", "model.norm.weight", "model.layers.0.self_attn.q_proj.bias"):
        assert torch.equal(ours[tensor], plain[tensor])
    tensor = "model.layers.1.mlp.down_proj.weight"
    deltas = [one[tensor] - base[tensor] for one in specialists]  # coefficients 1/2 of two: the published methods
    merge = MERGES[name]
    assert torch.allclose(ours[tensor], base[tensor] + 0.7 * merge(deltas), atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
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
    merge = MERGES[name]
    if tensor.startswith("pooler") or "conv" in tensor:
        expected = 0.5 * (deltas[0] + deltas[1])
        assert outcome.fallbacks == [tensor]
    else:
        experts = [delta if delta.dim() == 3 else delta[None] for delta in deltas]
        expected = torch.stack([merge(pair) for pair in zip(*experts, strict=True)]).reshape(shape)
        assert outcome.fallbacks == []
    assert torch.allclose(ours[tensor], base[tensor] + 0.4 * expected, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_one_specialist_at_full_weight(tmp_path: Path, name: str) -> None:
    base, specialists = random_family()
    both = {"codegen": 0.5, "codesum": 0.0}
    merged = merge_one(tmp_path, base, specialists, recipe(name, weights=both))
    if name == "tsv":  # half of its singular triplets survive
        tensor = "model.layers.1.mlp.down_proj.weight"
        assert int(torch.linalg.matrix_rank(merged[tensor] - base[tensor], rtol=1e-3)) == 12
    assert largest_difference(merged, base) > 0


@pytest.mark.parametrize("name", NAMES)
def test_bad_values(name: str) -> None:
    with pytest.raises(UserError, match=r"merge\.lambda must be a number"):
        recipe(name, lambda_=None)


@pytest.mark.parametrize(("common", "message"), [(1.5, "at most 1, got 1.5"), (-0.1, "at least 0"), ("x", "a number")])
def test_bad_fractions(common: object, message: str) -> None:
    with pytest.raises(UserError, match=rf"merge\.common must be {message}"):
        recipe("iso_cts", common=common)
