"""TIES trimmed over the whole model, as its authors do: the flattened task vectors of all tensors, sorted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from src.checkpoints import Checkpoint, write_checkpoint
from src.merging.backend.numba_ops import NumbaOps
from src.merging.engine.verify import verify_merge
from src.merging.tensors.parent_model import ParentModel
from src.utils.errors import UserError
from tests.merging.tools import Tensors, identical, largest_difference, merge_all, random_family, recipe, write_family


def family(count: int = 2, dtype: torch.dtype = torch.bfloat16) -> tuple[Tensors, list[Tensors]]:
    """One layer moved a lot, the embedding little; one tensor is of integers."""
    base, specialists = random_family(count, dtype)
    for one in specialists:
        for name, factor in (("model.layers.1.mlp.down_proj.weight", 4.0), ("model.embed_tokens.weight", 0.25)):
            one[name] = (base[name].float() + factor * (one[name].float() - base[name].float())).to(dtype)
    for one in (base, *specialists):
        one["steps"] = torch.tensor([3, 4])
    return base, specialists


def oracle(
    base: Tensors, specialists: list[Tensors], weights: list[float], density: float, names: list[str]
) -> Tensors:
    """2306.01708, section 4, in float64; exactly k are kept, the first of those that tie."""
    lengths = [base[name].numel() for name in names]
    deltas = [torch.cat([(one[n].double() - base[n].double()).reshape(-1) for n in names]) for one in specialists]
    kept = max(1, int(density * sum(lengths)))
    trimmed = []
    for delta in deltas:
        last = torch.sort(delta.abs(), descending=True, stable=True).indices[:kept]
        trimmed.append(torch.zeros_like(delta).index_copy(0, last, delta[last]))
    signed = torch.stack([weight * delta for weight, delta in zip(weights, trimmed, strict=True)])
    agree = torch.where(signed.sum(0) >= 0, signed > 0, signed < 0)
    mass = (agree * torch.tensor(weights, dtype=torch.float64)[:, None]).sum(0)
    merged = (signed * agree).sum(0) / torch.where(mass == 0, 1.0, mass)
    parts = torch.split(merged, lengths)
    return {name: base[name].double() + part.reshape(base[name].shape) for name, part in zip(names, parts, strict=True)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("count", "density"), [(2, 0.2), (3, 0.1), (2, 0.9)])
def test_is_the_formula_of_its_authors(tmp_path: Path, dtype: torch.dtype, count: int, density: float) -> None:
    base, specialists = family(count, dtype)
    weights = [0.25, 0.75] if count == 2 else [0.25, 0.375, 0.375]  # exact, so that ties of signs are
    one = recipe("ties", weight=0.25, density=density, trim="model", dtype="float32")
    parents = write_family(tmp_path, base, specialists)
    [merged], [outcome] = merge_all(*parents, [one])
    names = sorted(name for name in base if name != "steps")
    expected = oracle(base, specialists, weights, density, names)
    assert max(float((merged[name].double() - expected[name]).abs().max()) for name in names) < 1e-6
    assert torch.equal(merged["steps"], base["steps"])
    by_layer = {layer.layer: layer.density for layer in outcome.strength}
    if density == 0.2:  # of 0.9, some are kept that are 0 in bfloat16
        assert by_layer["all"]["codegen"] == pytest.approx(0.2, abs=1e-4)
        assert by_layer["layers.1"]["codegen"] > 0.5 > 0.01 > by_layer["embed_tokens"]["codegen"]
    [compiled], _ = merge_all(*parents, [one], workers=3, ops=NumbaOps())
    assert identical(merged, compiled)


def test_what_is_excluded_does_not_count(tmp_path: Path) -> None:
    base, specialists = family()
    pattern = "embed|layers.1"
    points = [recipe("ties", density=0.2, trim="model", exclude=pattern, dtype="float32")]
    points.append(recipe("ties", density=0.2, trim="model", dtype="float32"))
    [merged, _], _ = merge_all(*write_family(tmp_path, base, specialists), points)
    names = ["model.layers.0.mlp.down_proj.weight", "model.layers.0.self_attn.q_proj.bias", "model.norm.weight"]
    expected = oracle(base, specialists, [0.5, 0.5], 0.2, names)
    assert max(float((merged[name].double() - expected[name]).abs().max()) for name in names) < 1e-6
    assert torch.equal(merged["model.embed_tokens.weight"], base["model.embed_tokens.weight"].float())


def test_grids_share_the_passes_and_others_take_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    every = ParentModel.map_tensors

    def counted(self: ParentModel, work: Any, description: str, *rest: Any) -> list[Any]:
        looks.append(description)
        return every(self, work, description, *rest)

    monkeypatch.setattr(ParentModel, "map_tensors", counted)
    base, specialists = family()
    parents = write_family(tmp_path, base, specialists)
    merge_all(*parents, [recipe("ties", density=0.3, trim="tensor"), recipe("ties", density=1.0, trim="model")])
    assert looks == []
    grid_of = [recipe("ties", weight=w, density=0.3, trim="model") for w in (0.2, 0.4, 0.6)]
    together, _ = merge_all(*parents, grid_of)
    assert len([look for look in looks if "pass" in look]) == 3
    alone, _ = merge_all(*parents, [grid_of[1]])
    assert identical(together[1], alone[0])
    looks.clear()
    densities, _ = merge_all(*parents, [recipe("ties", weight=0.4, density=p, trim="model") for p in (0.1, 0.3, 0.8)])
    assert len([look for look in looks if "pass" in look]) == 3
    assert identical(densities[1], alone[0])


def test_a_sample_of_tensors_is_trimmed_as_in_the_whole(tmp_path: Path) -> None:
    base, specialists = family()
    opened, parents = write_family(tmp_path, base, specialists)
    one = recipe("ties", density=0.2, trim="model")
    [merged], _ = merge_all(opened, parents, [one])
    write_checkpoint(tmp_path / "merged", merged)
    found = verify_merge(Checkpoint(tmp_path / "merged"), opened, parents, one, tensors=2, seed=3)
    assert found.holds
    assert len(found.sampled) == 2
    per_tensor = recipe("ties", density=0.2)
    assert not verify_merge(Checkpoint(tmp_path / "merged"), opened, parents, per_tensor, tensors=None).holds


def test_one_tensor_is_trimmed_alike_either_way(tmp_path: Path) -> None:
    base, specialists = random_family(dtype=torch.bfloat16)
    name = "model.layers.0.mlp.down_proj.weight"
    alone = [{name: one[name]} for one in (base, *specialists)]
    points = [recipe("ties", density=0.3, trim=trim, rescale="l1", lambda_=0.7) for trim in ("tensor", "model")]
    [left, right], _ = merge_all(*write_family(tmp_path, alone[0], alone[1:]), points)
    assert identical(left, right)
    assert largest_difference(left, alone[0]) > 0


def test_bad_values() -> None:
    with pytest.raises(UserError, match=r"unknown merge\.trim 'layer'"):
        recipe("ties", trim="layer")
    with pytest.raises(UserError, match=r"merge\.engine=mergekit: mergekit lacks merge\.trim=model"):
        recipe("ties", trim="model", engine="mergekit")
