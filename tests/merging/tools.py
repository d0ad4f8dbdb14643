"""Small checkpoints and recipes for the tests of merging."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
from hydra.utils import get_object
from omegaconf import OmegaConf

from src.checkpoints import Checkpoint, write_checkpoint
from src.merging.backend.torch_ops import TorchOps
from src.merging.engine.grid import MergeRequest, MergeResult, merge_grid
from src.merging.engine.outputs import ToFunction
from src.merging.methods.sparsify import Sparsity, prepare_sparsity
from src.merging.recipe import Recipe
from src.merging.tensors.parent_tensors import Ops, ParentTensors
from src.stages.job import compose_job

CONF = Path(__file__).resolve().parents[2] / "conf" / "merge"
NAMES = sorted(path.stem for path in CONF.glob("[!_]*.yaml"))
SHAPES = {
    "model.embed_tokens.weight": (40, 24),
    "model.layers.0.mlp.down_proj.weight": (96, 700),  # more than one block
    "model.layers.0.self_attn.q_proj.bias": (24,),
    "model.layers.1.mlp.down_proj.weight": (24, 64),
    "model.norm.weight": (24,),
}
Tensors = dict[str, torch.Tensor]


def recipe(name: str, /, **keys: Any) -> Recipe:
    """The method of conf/merge/<name>.yaml with some keys changed; `lambda_` is the key `lambda`."""
    content = method_keys(name) | {key.removesuffix("_"): value for key, value in keys.items()}
    made: Recipe = get_object(content.pop("_target_"))(**content)
    return made


@cache
def _composed(name: str) -> dict[str, Any]:
    return cast(dict[str, Any], OmegaConf.to_container(compose_job("merge", [f"merge={name}"]).cfg.merge))


def method_keys(name: str) -> dict[str, Any]:
    """The node `merge` as `merge=name` composes it."""
    return deepcopy(_composed(name))


def random_family(count: int = 2, dtype: torch.dtype = torch.float32, seed: int = 0) -> tuple[Tensors, list[Tensors]]:
    """A base of unit scale and `count` specialists whose deltas shrink: 0.1, 0.05, 0.033, ..."""
    generator = torch.Generator().manual_seed(seed)
    base = {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in SHAPES.items()}
    specialists = [
        {name: (base[name] + torch.randn(base[name].shape, generator=generator) * 0.1 / k).to(dtype) for name in base}
        for k in range(1, count + 1)
    ]
    return base, specialists


def write_family(
    directory: Path, base: Tensors, specialists: list[Tensors]
) -> tuple[Checkpoint, dict[str, Checkpoint]]:
    """Write and open them; the specialists are called codegen, codesum, bugfix, ..."""
    labels = ["codegen", "codesum", "bugfix", "docs"]
    write_checkpoint(directory / "base", base)
    for label, tensors in zip(labels, specialists, strict=False):
        write_checkpoint(directory / label, tensors)
    return Checkpoint(directory / "base"), {
        label: Checkpoint(directory / label) for label, _ in zip(labels, specialists, strict=False)
    }


def merge_all(
    base: Checkpoint,
    specialists: Mapping[str, Checkpoint],
    recipes: list[Recipe],
    workers: int = 2,
    ops: Ops | None = None,
) -> tuple[list[Tensors], list[MergeResult]]:
    """All points in one pass, in memory."""
    results: list[Tensors] = [{} for _ in recipes]
    points = [MergeRequest(one, ToFunction(into.__setitem__)) for one, into in zip(recipes, results, strict=True)]
    outcomes = merge_grid(base, specialists, points, workers=workers, ops=ops)
    for outcome in outcomes:
        if outcome.error:
            raise outcome.error
    return results, outcomes


def merge_one(directory: Path, base: Tensors, specialists: list[Tensors], one: Recipe) -> Tensors:
    """One point of tensors in memory, through checkpoints on disk."""
    return merge_all(*write_family(directory, base, specialists), [one])[0][0]


def identical(left: Tensors, right: Tensors) -> bool:
    """Same names, dtypes and bits."""
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype and torch.equal(left[name], right[name]) for name in left
    )


def largest_difference(left: Tensors, right: Tensors) -> float:
    """Largest absolute difference of any element."""
    assert left.keys() == right.keys()
    return max(float((left[name].double() - right[name].double()).abs().max()) for name in left)


def sparsify(delta: torch.Tensor, sparsity: Sparsity, tensor: str = "", specialist: str = "") -> torch.Tensor:
    """Sparsify one whole task vector; the names seed the random kinds.

    Args:
        delta: float32, any shape.
        sparsity: What to keep.
        tensor: Tensor name.
        specialist: Specialist name.
    """
    flat = delta.float().reshape(-1)
    zeros = torch.zeros_like(flat)
    reads = [lambda start, stop, _: zeros[start:stop], lambda start, stop, _: flat[start:stop]]
    with ThreadPoolExecutor(1) as pool:
        tensors = ParentTensors(tensor, tuple(delta.shape), [specialist], reads, TorchOps(), pool, flat.device)
        [part] = prepare_sparsity(tensors, sparsity)
        return torch.cat(tensors.map(lambda block: part(block).clone())).reshape(delta.shape)
