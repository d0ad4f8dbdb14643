"""Merges of merges: the effective coefficients of the original specialists.

Linear methods are linear in every task vector, so a parent that is a merge can be replaced by its own parents: with
base B, M = B + sum v_k D_k and out = B + s (M - B) + w D_new, the result is B + sum s v_k D_k + w D_new. That is one
merge of all specialists, up to the rounding of M as it was stored. Methods that trim, drop, elect or rotate treat a
merge as one more specialist; their result depends on the order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from src.merging.schedule import mean_of, varies
from src.utils.errors import UserError

LINEAR, TASK_ARITHMETIC = "src.merging.registry.linear", "src.merging.registry.task_arithmetic"


@dataclass(frozen=True)
class NestedMerge:
    """A merge in terms of its original specialists.

    Args:
        coefficients: Of the original specialists' task vectors, with earlier merges resolved. If the merge is not
            linear, they only say which specialists took part; one that differs between tensors is given by the mean of
            its values.
        order: Original specialists in the order in which they were merged.
        identities: Hash of the weights of each original specialist.
        reason: Why one merge of all specialists would differ; empty if it would not, up to rounding.
        is_linear: Whether the merged task vector is the combination given by `coefficients`.
    """

    coefficients: dict[str, float]
    order: tuple[str, ...]
    identities: dict[str, str]
    reason: str
    is_linear: bool


def resolve_nested_merge(
    recipe: Mapping[str, Any], earlier: Mapping[str, NestedMerge], identities: Mapping[str, str] | None = None
) -> NestedMerge:
    """Resolve parents that are themselves merges.

    Args:
        recipe: Description of this merge (`Recipe.describe`), as in its run record.
        earlier: For every parent that is a merge of the same base, what it resolves to.
        identities: Hash of the weights of every parent, which tells specialists apart whatever they are called; None
            takes their names. One of an earlier merge that shares its name with another is called `merge/name`.

    Raises:
        UserError: A specialist would take part twice.

    Example:
        >>> first = resolve_nested_merge({"_target_": LINEAR, "weights": {"a": 0.5, "b": 0.5}, "normalize": True}, {})
        >>> both = {"_target_": LINEAR, "weights": {"ab": 0.8, "c": 0.2}, "normalize": True}
        >>> resolve_nested_merge(both, {"ab": first}).coefficients
        {'a': 0.4, 'b': 0.4, 'c': 0.2}
    """
    parents = task_vector_coefficients(recipe)
    found: dict[str, float] = {}
    known: dict[str, str] = {}  # label by identity
    leaves: dict[str, str] = {}
    for name, coefficient in parents.items():
        nested = earlier.get(name)
        hashes = nested.identities if nested else {name: (identities or {}).get(name, name)}
        for leaf, share in (nested.coefficients if nested else {name: 1.0}).items():
            if hashes[leaf] in known and earlier:  # without an earlier merge both are in plain sight
                same = "" if known[hashes[leaf]] == leaf else f" (as {known[hashes[leaf]]}, with the same weights)"
                raise UserError(f"{leaf} takes part in this merge twice{same}: name each specialist once")
            label = f"{name}/{leaf}" if nested and (leaf in found or leaf in parents) else leaf
            found[label] = coefficient * share
            known[hashes[leaf]], leaves[label] = label, hashes[leaf]
    linear = is_linear(recipe) and all(one.is_linear for one in earlier.values())
    return NestedMerge(found, tuple(found), leaves, _why_not_one_shot(recipe, earlier), linear)


def task_vector_coefficients(recipe: Mapping[str, Any]) -> dict[str, float]:
    """Factors on the task vectors if the merge is linear: coefficients, their normalization, and lambda."""
    coefficients = {str(name): mean_of(value) for name, value in recipe["weights"].items()}
    total = sum(coefficients.values())
    scale = mean_of(recipe.get("lambda", 1.0))
    if recipe.get("normalize") and abs(total) >= 1e-8:
        scale /= total
    return {name: coefficient * scale for name, coefficient in coefficients.items()}


def _why_not_one_shot(recipe: Mapping[str, Any], earlier: Mapping[str, NestedMerge]) -> str:
    for name, one in earlier.items():
        if not one.is_linear:
            return f"{name} is not a linear merge: what it dropped or elected cannot be reweighted"
    if earlier and not is_linear(recipe):
        method = recipe["_target_"].rpartition(".")[2]
        if _differs_between_tensors(recipe):
            return f"the coefficients of {method} differ between tensors"
        return f"{method} treats an earlier merge as one more specialist, so the order of merges matters"
    return ""


def _differs_between_tensors(recipe: Mapping[str, Any]) -> bool:
    return any(map(varies, (*recipe["weights"].values(), recipe.get("lambda"))))


def is_linear(recipe: Mapping[str, Any]) -> bool:
    """True if the merged delta is a fixed combination of task vectors, the same for every tensor."""
    if recipe["_target_"] not in (LINEAR, TASK_ARITHMETIC) or recipe.get("match_norm") or recipe.get("exclude"):
        return False
    if _differs_between_tensors(recipe):
        return False
    total = sum(recipe["weights"].values())
    return recipe["_target_"] == TASK_ARITHMETIC or bool(recipe.get("normalize")) or math.isclose(total, 1.0)
