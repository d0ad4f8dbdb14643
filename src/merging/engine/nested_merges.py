"""Merging in rounds: a new specialist joins an existing merge, whose own parents need not be there any more.

In terms of task vectors linear methods are linear in every parent, so a merge as a parent stands for its own parents:
with base B, M = B + sum v_k D_k and out = B + s (M - B) + w D_new the result is B + sum s v_k D_k + w D_new, the
one-shot merge, up to the rounding of M as it was stored. Methods that trim, drop, elect or turn treat a merge as one
more specialist; their rounds depend on the order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from src.utils.errors import UserError

LINEAR = ("linear", "task_arithmetic")


@dataclass(frozen=True)
class Round:
    """One merge, seen from its original specialists.

    Args:
        coefficients: Of the original specialists' task vectors, earlier rounds resolved; where the merge is not linear
            they only say who took part, and how heavily.
        order: The original specialists in the order in which they joined.
        reason: Why the result is not the one-shot merge of all of them; empty where it is.
        is_linear: Whether the merged task vector is the combination that `coefficients` say.
    """

    coefficients: dict[str, float]
    order: tuple[str, ...]
    reason: str
    is_linear: bool

    @property
    def is_one_shot(self) -> bool:
        """Whether merging all original specialists at once gives the same, up to rounding."""
        return not self.reason


def resolve_round(recipe: Mapping[str, Any], earlier: Mapping[str, Round]) -> Round:
    """See through the parents that are merges themselves.

    Args:
        recipe: Description of this merge (`Recipe.describe`), as in its run record.
        earlier: For every parent that is a merge of the same base, what it resolves to.

    Raises:
        UserError: A specialist would take part twice.

    Example:
        >>> first = resolve_round({"method": "linear", "weights": {"a": 0.5, "b": 0.5}, "normalize": True}, {})
        >>> both = {"method": "linear", "weights": {"ab": 0.8, "c": 0.2}, "normalize": True}
        >>> resolve_round(both, {"ab": first}).coefficients
        {'a': 0.4, 'b': 0.4, 'c': 0.2}
    """
    found: dict[str, float] = {}
    for name, coefficient in _task_vector_coefficients(recipe).items():
        inner = earlier[name].coefficients if name in earlier else {name: 1.0}
        for leaf, share in inner.items():
            if leaf in found:
                raise UserError(f"{leaf} takes part in this merge twice: alone, and in another parent")
            found[leaf] = coefficient * share
    linear = _is_linear(recipe) and all(one.is_linear for one in earlier.values())
    return Round(found, tuple(found), _why_not_one_shot(recipe, earlier), linear)


def joining_weights(
    target: Mapping[str, float], merge: str, earlier: Round, tolerance: float = 1e-6
) -> dict[str, float]:
    """Coefficients for a round that ends where a one-shot linear merge with `target` would.

    Args:
        target: Coefficient of every original specialist, old and new.
        merge: Name of the existing merge among the parents.
        earlier: What it resolves to.
        tolerance: Relative difference of ratios that passes for rounding.

    Returns:
        Coefficients of `merge` and of the new specialists.

    Raises:
        UserError: The existing merge is not linear, lacks a target, or has its specialists in another proportion.
    """
    if not earlier.is_linear:
        raise UserError(
            f"{merge} cannot go on to a one-shot merge: its method is not linear; merge all specialists anew"
        )
    absent = sorted(set(earlier.coefficients) - set(target))
    if absent:
        raise UserError(f"{merge} holds {', '.join(absent)}: name their coefficients too, merge.weights={{...}}")
    ratios = [target[name] / share for name, share in earlier.coefficients.items() if share != 0]
    if not ratios or not all(math.isclose(ratio, ratios[0], rel_tol=tolerance) for ratio in ratios):
        held = ", ".join(f"{name} {share:g}" for name, share in earlier.coefficients.items())
        raise UserError(f"{merge} has {held}: another proportion than asked for; merge all specialists anew")
    return {merge: ratios[0]} | {name: value for name, value in target.items() if name not in earlier.coefficients}


def _task_vector_coefficients(recipe: Mapping[str, Any]) -> dict[str, float]:
    weights = {str(name): float(value) for name, value in recipe["weights"].items()}
    total = sum(weights.values())
    scale = float(recipe.get("lambda", 1.0))
    if recipe.get("normalize") and abs(total) >= 1e-8:
        scale /= total
    return {name: weight * scale for name, weight in weights.items()}


def _why_not_one_shot(recipe: Mapping[str, Any], earlier: Mapping[str, Round]) -> str:
    for name, one in earlier.items():
        if not one.is_linear:
            return f"{name} is no linear merge: what it dropped or elected cannot be weighed anew"
    if earlier and not _is_linear(recipe):
        return f"{recipe['method']} takes an earlier merge as one more specialist, so the order of rounds matters"
    return ""


def _is_linear(recipe: Mapping[str, Any]) -> bool:
    """Whether the merged delta is a fixed combination of task vectors, the same for every tensor."""
    if recipe["method"] not in LINEAR or recipe.get("match_norm") or recipe.get("exclude"):
        return False
    total = sum(recipe["weights"].values())
    return recipe["method"] != "linear" or bool(recipe.get("normalize")) or math.isclose(total, 1.0)
