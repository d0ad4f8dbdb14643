"""Nodes of a composed config made into objects with plain arguments."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf


def build(node: DictConfig, **more: Any) -> Any:
    """Call a node's `_target_`; lists and mappings arrive as Python's own, never as config objects."""
    return instantiate(node, _convert_="all", **more)


def build_once(node: DictConfig) -> Any:
    """`build`, with one object for all equal nodes of this process: a study scores dozens of checkpoints with it."""
    return _built(json.dumps(OmegaConf.to_container(node, resolve=True), sort_keys=True))


@lru_cache
def _built(node: str) -> Any:
    return build(OmegaConf.create(json.loads(node)))
