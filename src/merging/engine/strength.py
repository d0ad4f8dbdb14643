"""Realised strength: how far a merge moved from the base, beside its parents."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from src.checkpoints.layers import locate


@dataclass(frozen=True)
class Norms:
    """Frobenius norms of one tensor's merged delta and of its parents' deltas."""

    merged: float
    parents: dict[str, float]


@dataclass(frozen=True)
class LayerStrength:
    """One layer of a merge.

    Args:
        layer: `embed_tokens`, `layers.0`, ... (see `src.checkpoints.layers`), or `all`.
        merged: Norm of the merged delta.
        parents: Norm of every specialist's delta.
    """

    layer: str
    merged: float
    parents: dict[str, float]

    @property
    def over_parents(self) -> dict[str, float]:
        """Norm of the merged delta over that of each specialist; NaN where that one did not move."""
        return {name: self.merged / norm if norm > 0 else math.nan for name, norm in self.parents.items()}


def strength_by_layer(norms: Mapping[str, Norms]) -> list[LayerStrength]:
    """Sum the norms of tensors up to layers.

    Args:
        norms: By tensor name.

    Returns:
        One entry per layer in the order of the network, then `all`.
    """
    layers: dict[str, list[Norms]] = {}
    for name in sorted(norms, key=lambda name: (locate(name).order, name)):
        layers.setdefault(locate(name).layer, []).append(norms[name])
    whole = _sum("all", [norms[name] for name in sorted(norms)])
    return [_sum(layer, parts) for layer, parts in layers.items()] + [whole]


def _sum(layer: str, parts: list[Norms]) -> LayerStrength:
    labels = parts[0].parents if parts else {}
    return LayerStrength(
        layer,
        math.hypot(*(part.merged for part in parts)),
        {label: math.hypot(*(part.parents[label] for part in parts)) for label in labels},
    )
