"""Where a tensor sits in a decoder: its layer and its module kind, read from its Hugging Face name."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")
_AFTER_LAYERS = {"final norm": 1_000_000, "lm_head": 1_000_001, "other": 1_000_002}
_PROJECTIONS = {f"{kind}_proj": kind for kind in ("q", "k", "v", "o", "gate", "up", "down")}
KINDS = ("embeddings", "q", "k", "v", "o", "gate", "up", "down", "norm", "lm_head", "other")


@dataclass(frozen=True)
class Place:
    """One tensor's row and column in the diagnostics.

    Args:
        layer: `"embeddings"`, `"0"`, `"1"`, ..., `"final norm"`, `"lm_head"` or `"other"`.
        order: Sort key of `layer`, from the input of the network to its output.
        kind: One of `KINDS`.
    """

    layer: str
    order: int
    kind: str


def place(name: str) -> Place:
    """Parse a tensor name.

    Example:
        >>> place("model.layers.3.self_attn.q_proj.bias")
        Place(layer='3', order=3, kind='q')
    """
    kind = _kind(name)
    if found := _LAYER.search(name):
        return Place(str(int(found[1])), int(found[1]), kind)
    if kind == "embeddings":
        return Place("embeddings", -1, kind)
    layer = {"norm": "final norm", "lm_head": "lm_head"}.get(kind, "other")
    return Place(layer, _AFTER_LAYERS[layer], kind)


def is_weight(name: str) -> bool:
    """False for biases and buffers, which the reference study leaves out of its averages (arXiv 2601.21115)."""
    return name.rsplit(".", 1)[-1] == "weight"


def _kind(name: str) -> str:
    parts = name.split(".")
    module = parts[-2] if len(parts) > 1 else parts[-1]
    if module in _PROJECTIONS:
        return _PROJECTIONS[module]
    if module.startswith("embed") or module in ("wte", "wpe"):
        return "embeddings"
    if module == "lm_head":
        return "lm_head"
    return "norm" if module.endswith("norm") else "other"
