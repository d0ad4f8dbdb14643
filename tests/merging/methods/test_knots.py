"""KnOTS against its formula: dense, in float64, with TIES written out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from src.checkpoints import Checkpoint, write_checkpoint
from src.merging.tensors.lora import LoraParent
from src.merging.tensors.parent import open_parents
from src.utils.errors import UserError
from tests.merging.tools import (
    Tensors,
    largest_difference,
    merge_all,
    merge_one,
    random_family,
    recipe,
    write_family,
)  # fmt: skip

Q, DOWN, EMBED = "model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj", "model.embed_tokens"
REST = {f"{EMBED}.weight": (20, 9), "model.norm.weight": (9,), "model.vision.patches.weight": (4, 3, 2, 2)}
BASE = {f"{Q}.weight": (12, 9), f"{DOWN}.weight": (30, 7)} | REST
Matrix = NDArray[np.float64]


def ties(parts: list[Matrix], coefficients: list[float], density: float) -> Matrix:
    """TIES on whole matrices: the largest k of each, the sign of the weighted sum, the mean of those that agree."""
    trimmed = []
    for part in parts:
        size = np.sort(np.abs(part), axis=None)[::-1]
        trimmed.append(np.where(np.abs(part) >= size[max(1, int(density * part.size)) - 1], part, 0))
    weighted = np.stack([part * c for part, c in zip(trimmed, coefficients, strict=True)])
    sign = np.where(weighted.sum(axis=0) >= 0, 1, -1)
    agree = np.sign(weighted) == sign
    total = (agree * np.array(coefficients)[:, None, None]).sum(axis=0)
    return np.where(total == 0, 0.0, (weighted * agree).sum(axis=0) / np.where(total == 0, 1, total))


def knots(deltas: list[Matrix], coefficients: list[float], density: float) -> Matrix:
    """[D_1 ... D_K] = U S V^T; U times the merge of the parts S V_k^T."""
    u, s, v = np.linalg.svd(np.concatenate(deltas, axis=1), full_matrices=False)
    real = s > 1e-6 * s[0]
    parts = np.split(s[real, None] * v[real], len(deltas), axis=1)
    return np.asarray(u[:, real] @ ties(parts, coefficients, density))


def write_adapter(directory: Path, factors: dict[str, tuple[torch.Tensor, torch.Tensor]], **settings: Any) -> None:
    """An adapter by hand: module -> lora_A, lora_B."""
    directory.mkdir(parents=True)
    content = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": [*factors]} | settings
    (directory / "adapter_config.json").write_text(json.dumps(content))
    stored = {}
    for module, pair in factors.items():
        for part, values in zip("AB", pair, strict=True):
            stored[f"base_model.model.{module}.lora_{part}.weight"] = values.contiguous()
    save_file(stored, directory / "adapter_model.safetensors")


def adapters(directory: Path) -> tuple[Checkpoint, dict[str, LoraParent]]:
    """Two adapters of ranks 2 and 3; only the first changes the projection down."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    write_checkpoint(directory / "base", {name: random(*shape) for name, shape in BASE.items()})
    write_adapter(directory / "codegen", {Q: (random(2, 9), random(12, 2)), DOWN: (random(2, 7), random(30, 2))})
    write_adapter(directory / "codesum", {Q: (random(3, 9), random(12, 3))}, r=3, use_rslora=True)
    base, parents = open_parents(directory / "base", {name: directory / name for name in ("codegen", "codesum")})
    return base, parents  # type: ignore[return-value]


def delta(parent: LoraParent, name: str) -> Matrix:
    factors = parent.factors(name)
    assert factors is not None
    return factors.product().numpy()


def test_adapters_by_the_formula(tmp_path: Path) -> None:
    base, parents = adapters(tmp_path)
    [merged], [outcome] = merge_all(base, parents, [recipe("knots", weight=0.3, density=0.4)])  # type: ignore[arg-type]
    for module in (Q, DOWN):
        name = f"{module}.weight"
        expected = knots([delta(parent, name) for parent in parents.values()], [0.3, 0.7], 0.4)
        assert np.abs(merged[name].numpy() - base.tensor(name).numpy() - expected).max() < 2e-6
    unchanged = {name: merged[name] for name in REST}
    assert largest_difference(unchanged, {name: base.tensor(name) for name in unchanged}) == 0
    assert outcome.fallbacks == []
    density = {layer.layer: layer.density for layer in outcome.strength}["layers.0"]
    assert density["codegen"] == pytest.approx(18 / 45, abs=0.01)  # of 5 directions times 9 inputs


def test_whole_checkpoints_by_the_formula(tmp_path: Path) -> None:
    """The layers' matrices, wide and tall and each expert's, in the basis; all else by TIES as it is."""
    torch.manual_seed(0)
    experts = "model.layers.0.mlp.experts.down_proj"
    shapes = BASE | {experts: (2, 6, 8)}
    base = {name: torch.randn(shape) for name, shape in shapes.items()}
    specialists = [{name: values + 0.1 * torch.randn(values.shape) for name, values in base.items()} for _ in range(2)]
    options = {"weight": 0.3, "density": 0.4}
    [merged, plain], _ = merge_all(
        *write_family(tmp_path, base, specialists), [recipe("knots", **options), recipe("ties", **options)]
    )
    for name in (f"{Q}.weight", f"{DOWN}.weight", experts):
        deltas = [(one[name] - base[name]).double().numpy() for one in specialists]
        stacked = [one.reshape(-1, *one.shape[-2:]) for one in deltas]
        expected = np.stack([knots(list(pair), [0.3, 0.7], 0.4) for pair in zip(*stacked, strict=True)])
        found = (merged[name] - base[name]).numpy()
        assert np.abs(found - expected.reshape(found.shape)).max() < 2e-6
    for name in REST:
        assert torch.equal(merged[name], plain[name])


def test_a_linear_method_does_not_see_the_basis(tmp_path: Path) -> None:
    base, parents = adapters(tmp_path)
    keys = {"weight": 0.3, "lambda_": 0.7, "normalize": False}
    points = [recipe("knots", inner="task_arithmetic", density=1.0, **keys), recipe("task_arithmetic", **keys)]
    [merged, plain], _ = merge_all(base, parents, points)  # type: ignore[arg-type]
    assert largest_difference(merged, plain) < 1e-5


def test_an_adapter_is_aligned_like_the_checkpoint_it_makes(tmp_path: Path) -> None:
    base, parents = adapters(tmp_path)
    whole: list[Tensors] = [{name: one.tensor(name) for name in one.names} for one in parents.values()]
    point = recipe("knots", inner="dare", density=0.5, rescale="density")
    [merged], _ = merge_all(base, parents, [point])  # type: ignore[arg-type]
    dense = merge_one(tmp_path / "whole", {name: base.tensor(name) for name in base.names}, whole, point)
    # The masks cover the same directions, but these are only determined up to their sign and rounding.
    assert largest_difference({"q": merged[f"{Q}.weight"]}, {"q": dense[f"{Q}.weight"]}) < 1e-2


def test_one_rank_by_hand(tmp_path: Path) -> None:
    """Both map to the same output (1, 0): the parts are (3, 1) and (-1, 2), and TIES elects + twice."""
    write_checkpoint(tmp_path / "base", {f"{Q}.weight": torch.full((2, 2), 10.0)})
    up = torch.tensor([[1.0], [0.0]])
    for label, down in (("codegen", [[3.0, 1.0]]), ("codesum", [[-1.0, 2.0]])):
        write_adapter(tmp_path / label, {Q: (torch.tensor(down), up)}, r=1, lora_alpha=1)
    parents = open_parents(tmp_path / "base", {label: tmp_path / label for label in ("codegen", "codesum")})
    [merged], _ = merge_all(*parents, [recipe("knots", density=1.0)])  # type: ignore[arg-type]
    assert torch.allclose(merged[f"{Q}.weight"], torch.tensor([[13.0, 11.5], [10.0, 10.0]]), atol=1e-6)


def test_bad_values(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"unknown merge\.inner 'slerp'. Available: dare, dare_ties, task_arithmetic, ties"
    ):
        recipe("knots", inner="slerp")
    with pytest.raises(UserError, match=r"inner=task_arithmetic selects nothing: set merge\.density=1, got 0\.5"):
        recipe("knots", inner="task_arithmetic")
    with pytest.raises(UserError, match=r"merge\.density"):
        recipe("knots", density=0.0)
    base, specialists = random_family()
    with pytest.raises(UserError, match="engine"):
        merge_one(tmp_path, base, specialists, recipe("knots", engine="mergekit"))
