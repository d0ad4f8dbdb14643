"""Objects built from nodes of a composed config, with plain arguments."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf

from src.config.types import check_types, hints_of
from src.utils.errors import UserError
from src.utils.targets import require_trusted


def build(node: DictConfig, **more: Any) -> Any:
    """Call a node's `_target_`; lists and mappings arrive as plain Python, never as config objects.

    Raises:
        UserError: A value does not have the type of its argument.
    """
    _check(node)
    return instantiate(node, _convert_="all", **more)


def build_once(node: DictConfig) -> Any:
    """Build one object for all equal nodes in this process; a study scores dozens of checkpoints with it."""
    _check(node)  # here, where the node still knows its key in the config
    return _built(json.dumps(OmegaConf.to_container(node, resolve=True), sort_keys=True))


def _check(node: Any) -> None:
    """Check the values of a node, and of the nodes in it, against the arguments of their callables."""
    values = list(node) if isinstance(node, ListConfig) else [node[key] for key in node]
    for value in values:
        if isinstance(value, (DictConfig, ListConfig)):
            _check(value)
    if isinstance(node, DictConfig) and "_target_" in node:
        plain = {str(key): _plain(node[key]) for key in node}
        check_types(plain, hints_of(_callable(node)), lambda key: str(node._get_full_key(key)))


def _callable(node: DictConfig) -> Any:
    """The callable of a node, which must be trusted by its name and by the module that defines it."""
    target, key = str(node["_target_"]), str(node._get_full_key("_target_"))
    require_trusted(target, key)
    try:
        found = get_object(target)
    except (ImportError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), "")
        raise UserError(f"{key}={target}: {reason} It must be importable, e.g. PYTHONPATH=DIR") from error
    defined = getattr(found, "__module__", None)
    if defined is not None and not target.startswith(f"{defined}."):  # such as `os` through a module of ours
        require_trusted(f"{defined}.{target.rpartition('.')[2]}", key)
    return found


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if isinstance(value, (DictConfig, ListConfig)) else value


@lru_cache
def _built(node: str) -> Any:
    return build(OmegaConf.create(json.loads(node)))
