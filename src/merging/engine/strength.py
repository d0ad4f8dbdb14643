"""Realised strength: how far a merge moved from the base, beside its parents."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")
_ORDER = {"embedding": -1, "other": 1 << 30}


@dataclass(frozen=True)
class Norms:
    """Frobenius norms of one tensor's merged delta and of its parents' deltas."""

    merged: float
    parents: dict[str, float]


@dataclass(frozen=True)
class LayerStrength:
    """One layer of a merge.

    Args:
        layer: `embedding`, a layer number, `other` (final norm, head), or `all`.
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


def layer_of(tensor: str) -> str:
    """The layer that a tensor belongs to: `embedding`, a number, or `other`."""
    match = _LAYER.search(tensor)
    if match:
        return match.group(1)
    return "embedding" if "embed" in tensor or "wte" in tensor else "other"


def strength_by_layer(norms: Mapping[str, Norms]) -> list[LayerStrength]:
    """Sum the norms of tensors up to layers.

    Args:
        norms: By tensor name.

    Returns:
        One entry a layer in the order of the network, then `all`.
    """
    layers: dict[str, list[Norms]] = {}
    for name in sorted(norms):
        layers.setdefault(layer_of(name), []).append(norms[name])
    ordered = sorted(layers, key=lambda layer: _ORDER.get(layer) or int(layer))
    return [_sum(layer, layers[layer]) for layer in ordered] + [_sum("all", [norms[name] for name in sorted(norms)])]


def _sum(layer: str, parts: list[Norms]) -> LayerStrength:
    labels = parts[0].parents if parts else {}
    return LayerStrength(
        layer,
        math.hypot(*(part.merged for part in parts)),
        {label: math.hypot(*(part.parents[label] for part in parts)) for label in labels},
    )
