"""Nodes of a composed config made into objects with plain arguments."""

from __future__ import annotations

from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig


def build(node: DictConfig, **more: Any) -> Any:
    """Call a node's `_target_`; lists and mappings arrive as Python's own, never as config objects."""
    return instantiate(node, _convert_="all", **more)
