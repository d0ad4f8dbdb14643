"""Merge LoRA adapters of one base into one LoRA adapter; the base's weights are not read.

A weighted sum of updates is exact: the factors side by side, whose ranks add up. Every other method of task vectors
merges the whole updates tensor by tensor, as in a merge of full checkpoints (the base is zero here), and the nearest
factors of a given rank are kept. What that loses is measured.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from src.checkpoints.layers import locate
from src.merging.engine.check_parents import check_excludes, check_parents
from src.merging.engine.grid import one_pass
from src.merging.engine.nested_merges import is_linear, task_vector_coefficients
from src.merging.engine.outputs import ToFunction
from src.merging.engine.point import LayerStrength, MergeInProgress, Norms, strength_by_layer
from src.merging.methods.task_vectors import WeightedMean
from src.merging.recipe import Recipe
from src.merging.tensors.lora import LoraParent
from src.merging.tensors.lora_adapter import Update, is_adapter
from src.merging.tensors.lora_factors import add, factorize, singular_values, truncate
from src.merging.tensors.lora_write import NewUpdate, check_alike
from src.merging.tensors.matching import match_tensors
from src.merging.tensors.vocabulary import Aligned
from src.merging.tensors.zero_base import ZeroBase
from src.utils.errors import UserError


@dataclass(frozen=True)
class MergedUpdate:
    """A merged update.

    Args:
        new: Its factors.
        norm: Frobenius norm of the merged update.
        lost: That of what the factors lack.
    """

    new: NewUpdate
    norm: float
    lost: float


@dataclass(frozen=True)
class AdapterMerge:
    """A merged adapter.

    Args:
        updates: By the name of the adapted tensor.
        strength: Realized strength by layer.
        fallbacks: See `MergeResult`.
    """

    updates: dict[str, MergedUpdate]
    strength: list[LayerStrength]
    fallbacks: list[str]

    def lost(self) -> dict[str, float]:
        """Relative error of each layer and of `all`: the norm of what was lost, divided by that of the update."""
        layers: dict[str, list[MergedUpdate]] = {}
        for name in sorted(self.updates, key=lambda name: (locate(name).order, name)):
            layers.setdefault(locate(name).layer, []).append(self.updates[name])
        layers["all"] = list(self.updates.values())
        return {layer: _relative(parts) for layer, parts in layers.items()}


def open_adapters(
    base: Path, specialists: Mapping[str, Path], allow_pickle: bool = False
) -> tuple[ZeroBase, dict[str, LoraParent]]:
    """Open LoRA adapters on a base of zeros.

    Raises:
        UserError: A specialist is no adapter, or the adapters cannot become one.
    """
    opened = ZeroBase(base, allow_pickle)
    parents = {}
    for label, path in specialists.items():
        if not is_adapter(path):
            raise UserError(
                f"specialists.{label}={path} is a full checkpoint; adapter= merges LoRA adapters alone: "
                "merge into a full checkpoint instead, without adapter="
            )
        parents[label] = LoraParent(path, opened, allow_pickle)
    check_alike({label: parent.adapter for label, parent in parents.items()})
    return opened, parents


def merge_adapters(
    base: ZeroBase,
    specialists: Mapping[str, LoraParent],
    recipe: Recipe,
    rank: int | None,
    device: str = "cpu",
    names: Collection[str] | None = None,
) -> AdapterMerge:
    """Merge adapters into one.

    Args:
        base: From `open_adapters`, as are the specialists.
        specialists: K adapters by name, in the order of the coefficients.
        recipe: The point.
        rank: Highest rank of an update; None keeps the sum of the ranks, which only a weighted sum can.
        device: Device of the arithmetic.
        names: Only these updates; None merges all.

    Raises:
        UserError: The adapters do not match, or the method cannot merge them into one.
    """
    planned_ranks(base, specialists, recipe, rank)
    wanted = {name for one in specialists.values() for name in one.adapter.updates}
    wanted &= wanted if names is None else set(names)
    description = recipe.describe(tuple(specialists))
    if is_linear(description):
        return _add_up(specialists, task_vector_coefficients(description), rank, wanted)
    assert rank is not None
    return _merge_whole(base, specialists, recipe, rank, torch.device(device), wanted)


def planned_ranks(
    base: ZeroBase, specialists: Mapping[str, LoraParent], recipe: Recipe, rank: int | None
) -> dict[str, int]:
    """Check a merge of adapters without merging; see `merge_adapters`.

    Returns:
        Rank of every merged update at most.
    """
    linear = is_linear(recipe.describe(tuple(specialists)))
    _check_recipe(recipe, linear, rank)
    check_excludes([recipe], base.names)
    check_parents(*match_tensors(base, specialists))
    if not any(not recipe.excludes(place) for one in specialists.values() for place in one.adapted):
        raise UserError(f"merge.exclude={recipe.exclude!r} leaves no adapted tensor to merge")
    ranks: dict[str, int] = {}
    for one in specialists.values():
        for name, update in one.adapter.updates.items():
            ranks[name] = ranks.get(name, 0) + (update.rank if linear else min(update.layout.shape[-2:]))
    return ranks if rank is None else {name: min(found, rank) for name, found in ranks.items()}


def _check_recipe(recipe: Recipe, linear: bool, rank: int | None) -> None:
    if recipe.tokenizer != "equal":
        raise UserError(f"merge.tokenizer={recipe.tokenizer} changes the embedding, which an adapter lacks: set equal")
    mean = isinstance(recipe.rule, WeightedMean)
    if not linear and (recipe.engine == "mergekit" or (recipe.rule.returns_weights and not mean)):
        raise UserError(
            f"merge={recipe.method} merges whole weights, not task vectors, so that the result is no adapter; choose "
            "another method, or merge into a full checkpoint without adapter="
        )
    if not linear and mean and not getattr(recipe.rule, "normalize", False):
        raise UserError("the coefficients must sum to 1, or the base changes too: set merge.normalize=true")
    if not linear and rank is None:
        raise UserError(
            "adapter=exact holds for weighted sums alone (linear and task_arithmetic with one coefficient per "
            f"specialist, without merge.exclude and merge.match_norm), not for merge={recipe.method} as configured: "
            "set adapter=RANK, e.g. adapter=16"
        )


def _add_up(
    specialists: Mapping[str, LoraParent], coefficients: Mapping[str, float], rank: int | None, names: Collection[str]
) -> AdapterMerge:
    merged: dict[str, MergedUpdate] = {}
    norms: dict[str, Norms] = {}
    for name in sorted(names):
        having = {label: one.adapter for label, one in specialists.items() if name in one.adapter.updates}
        updates = {label: adapter.factors(name) for label, adapter in having.items()}
        whole = add(list(updates.values()), [coefficients[label] for label in updates])
        values = singular_values(whole)
        kept = whole if rank is None or rank >= whole.rank else truncate(whole, rank)
        like = next(iter(having.values())).updates[name]
        merged[name] = MergedUpdate(NewUpdate(like, kept), _norm(values), _norm(values[..., kept.rank :]))
        parents = {label: _norm(singular_values(updates[label])) if label in updates else 0.0 for label in specialists}
        norms[name] = Norms(merged[name].norm, parents, math.prod(like.layout.shape))
    return AdapterMerge(merged, strength_by_layer(norms), [])


def _merge_whole(
    base: ZeroBase,
    specialists: Mapping[str, LoraParent],
    recipe: Recipe,
    rank: int,
    device: torch.device,
    names: Collection[str],
) -> AdapterMerge:
    places = {place: one for parent in specialists.values() for place, one in parent.adapted.items()}
    places = {place: one for place, one in places.items() if one.name in names and not recipe.excludes(place)}
    pending: dict[str, set[str]] = {}
    for place, one in places.items():
        pending.setdefault(one.name, set()).add(place)
    likes = {name: update for parent in specialists.values() for name, update in parent.adapter.updates.items()}
    wholes: dict[str, torch.Tensor] = {}
    merged: dict[str, MergedUpdate] = {}

    def collect(place: str, tensor: torch.Tensor) -> None:
        name, part = places[place].name, places[place].part
        if part is None:
            wholes[name] = tensor
        else:
            whole = wholes.setdefault(name, torch.zeros(likes[name].layout.shape))
            whole[part.expert, part.start : part.stop] = tensor
        pending[name].discard(place)
        if not pending[name]:
            merged[name] = _factorized(likes[name], wholes.pop(name).to(device), rank)

    sink = ToFunction(collect)
    run = MergeInProgress(replace(recipe, dtype=None), sink, base, tuple(specialists), key="")
    one_pass([(Aligned(base, dict(specialists)), [run])], set(places), None, None, device)
    if run.error is not None:
        raise run.error
    return AdapterMerge(merged, run.strength(), run.fallbacks())


def _factorized(like: Update, whole: torch.Tensor, rank: int) -> MergedUpdate:
    factors = factorize(whole, rank).to(torch.device("cpu"))
    lost = whole.cpu().double() - factors.product()
    return MergedUpdate(NewUpdate(like, factors), _norm(whole.double()), _norm(lost))


def _norm(values: torch.Tensor) -> float:
    return float(values.norm())


def _relative(parts: Collection[MergedUpdate]) -> float:
    norm = math.hypot(*(part.norm for part in parts))
    return math.hypot(*(part.lost for part in parts)) / norm if norm > 0 else 0.0
