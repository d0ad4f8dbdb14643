"""`merge.py adapter=exact|RANK`: adapters merged into an adapter, and checked against its record later."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from src.merging.engine.adapter_merge import AdapterMerge, merge_adapters, open_adapters, planned_ranks
from src.merging.engine.lazy import LazyMerge
from src.merging.engine.verify import Verification
from src.merging.recipe import OUTPUT_DTYPES, Recipe
from src.merging.tensors.lora_adapter import Adapter
from src.merging.tensors.lora_factors import Factors
from src.merging.tensors.lora_write import write_adapter
from src.utils.errors import UserError
from src.utils.progress import say

EXACT = "exact"
NOTICED = 1e-6  # relative error; below it, nothing was lost but digits


def check_adapter(value: object, save_weights: bool) -> int | str | None:
    """Check the key `adapter`.

    Returns:
        None for a full checkpoint, `exact`, or the highest rank of an update.

    Raises:
        UserError: It is something else, or nothing is to be written.
    """
    if value is None:
        return None
    if value != EXACT and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise UserError(f"adapter={value}: expected exact, or the rank of the merged adapter, e.g. adapter=16")
    if not save_weights:
        raise UserError("adapter= writes an adapter, save_weights=false no weights: give one of them")
    return value if isinstance(value, int) else EXACT


def remove_network_files(directory: Path) -> None:
    """Remove what describes the base's network: beside a `config.json`, transformers looks for whole weights."""
    for path in (directory / "config.json", *directory.glob("*.py")):
        path.unlink(missing_ok=True)


def write_merged_adapter(
    directory: Path,
    base: Path,
    specialists: Mapping[str, Path],
    recipe: Recipe,
    size: int | str,
    allow_pickle: bool,
    device: str,
) -> dict[str, Any]:
    """Merge adapters and write the result as an adapter.

    Args:
        directory: Where to.
        base: The checkpoint that they adapt.
        specialists: Adapter directories by name.
        recipe: The point.
        size: `exact`, or the highest rank of an update.
        allow_pickle: See `Checkpoint`.
        device: Device of the arithmetic.

    Returns:
        Values for the record; `adapter.lost` is the relative error of each layer.

    Raises:
        UserError: The adapters cannot be merged into one.
    """
    opened, parents = open_adapters(base, specialists, allow_pickle)
    merged = merge_adapters(opened, parents, recipe, _rank(size), device)
    new = {name: update.new for name, update in merged.updates.items()}
    adapters = [parent.adapter for parent in parents.values()]
    write_adapter(directory, new, adapters, base, opened.config, _dtype(recipe))
    if (lost := merged.lost())["all"] > NOTICED:
        worst = max((layer for layer in lost if layer != "all"), key=lost.__getitem__)
        say(f"rank {size}: relative error {lost['all']:.2g} of the merged update, at most {lost[worst]:.2g} ({worst})")
    return {
        "strength": [asdict(layer) for layer in merged.strength],
        "fallbacks": merged.fallbacks,
        "adapter": {"size": size, "lost": lost},
    }


def planned_bytes(
    base: Path, specialists: Mapping[str, Path], recipe: Recipe, size: int | str, allow_pickle: bool
) -> int:
    """Check a merge of adapters without merging; returns the bytes of its weights at most.

    Raises:
        UserError: See `write_merged_adapter`.
    """
    opened, parents = open_adapters(base, specialists, allow_pickle)
    ranks = planned_ranks(opened, parents, recipe, _rank(size))
    shapes = {name: update.layout.shape for one in parents.values() for name, update in one.adapter.updates.items()}
    numbers = sum(math.prod(shapes[name][:-2]) * rank * sum(shapes[name][-2:]) for name, rank in ranks.items())
    return numbers * _dtype(recipe).itemsize


def verify_adapter(directory: Path, point: LazyMerge, size: int | str, tensors: int | None) -> Verification:
    """Recompute updates of a merged adapter and compare; equal up to the rounding of the stored factors.

    Args:
        directory: The merged adapter.
        point: Its parents and recipe.
        size: `exact`, or its rank.
        tensors: Number of updates to sample; None: all.
    """
    opened, parents = open_adapters(point.base, point.specialists, point.allow_pickle)
    stored = Adapter(directory, opened.config)
    every = sorted({name for parent in parents.values() for name in parent.adapter.updates})
    sampled = every if tensors is None or len(every) <= tensors else sorted(random.sample(every, tensors))
    merged = merge_adapters(opened, parents, point.recipe, _rank(size), names=sampled)
    tolerance = 8 * torch.finfo(_dtype(point.recipe)).eps
    differing = [name for name in sampled if not _same(stored, merged, name, tolerance)]
    return Verification(tuple(sampled), tuple(differing), len(every), bitwise=False)


def _same(stored: Adapter, merged: AdapterMerge, name: str, tolerance: float) -> bool:
    """The factors of a product are not unique, so the products are compared."""
    if name not in stored.updates or name not in merged.updates:
        return name not in stored.updates and name not in merged.updates
    expected: Factors = merged.updates[name].new.factors
    difference = stored.factors(name).product() - expected.product()
    return float(difference.norm()) <= tolerance * float(expected.product().norm())


def _rank(size: int | str) -> int | None:
    return size if isinstance(size, int) else None


def _dtype(recipe: Recipe) -> torch.dtype:
    return OUTPUT_DTYPES[recipe.dtype] if recipe.dtype else torch.float32
