"""Facts about a checkpoint that only its model class knows, asked of transformers where it is installed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

TIED = "tie_word_embeddings"
VOCABULARY_STEP = 64


def is_tied(config: Mapping[str, Any]) -> bool:
    """True if the output head shares the input embedding.

    Args:
        config: The parsed `config.json`. Where it says nothing, the default of the model class holds; a model with
            several parts may say it in the config of its language model.
    """
    if TIED in config:
        return bool(config[TIED])
    return _tied_by_class(json.dumps(config, sort_keys=True)) if config.get("model_type") else False


@lru_cache(maxsize=64)
def _tied_by_class(config: str) -> bool:
    content = json.loads(config)
    try:
        from transformers import CONFIG_MAPPING  # takes seconds, and most configs say what is asked

        found = CONFIG_MAPPING[content["model_type"]].from_dict(content)
    except Exception:  # not installed, or remote code: what is left is the file itself
        return bool((content.get("text_config") or {}).get(TIED, False))
    return bool(getattr(found, TIED, False))


def class_names(config: Mapping[str, Any], names: Collection[str]) -> dict[str, str]:
    """Names of tensors as the model class has them, by their names in a file.

    Checkpoints of one class come with different prefixes: `visual.*` or `model.visual.*`, with or without the prefix
    of the model inside its head. Transformers renames them while it loads; these are its own rules.

    Args:
        config: The parsed `config.json`.
        names: Of the tensors in a file.

    Returns:
        Nothing where the class is unknown, transformers is missing, or two tensors would get one name.
    """
    with contextlib.suppress(Exception):  # of foreign configs and classes; the caller then compares names as they are
        renamed = _renamed(config, names)
        if len(set(renamed.values())) == len(renamed):
            return renamed
    return {}


def _renamed(config: Mapping[str, Any], names: Collection[str]) -> dict[str, str]:
    import torch
    import transformers
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightRenaming, rename_source_key

    settings = transformers.CONFIG_MAPPING[config["model_type"]].from_dict(dict(config))
    with torch.device("meta"):
        model = getattr(transformers, config["architectures"][0])(settings)
    rules = [rule for rule in get_model_conversion_mapping(model) if isinstance(rule, WeightRenaming)]
    prefix = model.base_model_prefix
    known = model.state_dict()
    renamed = {name: rename_source_key(name, rules, [], prefix, known)[0] for name in names}
    # Tensors that the class stacks (experts) are not among its own; they get the prefix that their neighbors got.
    if prefix and any(new == f"{prefix}.{old}" for old, new in renamed.items()):
        for old, new in renamed.items():
            if new not in known and not new.startswith(f"{prefix}."):
                renamed[old] = f"{prefix}.{new}"
    return renamed


def rows_are_tokens(config: Mapping[str, Any], names: Collection[str]) -> dict[str, bool]:
    """Find the tensors whose rows are the vocabulary: those that grow with `vocab_size` in the model class.

    Args:
        config: The parsed `config.json`.
        names: Names of the tensors in a file; their prefix may differ from the class's.

    Returns:
        True or False by name, for the tensors of the class; empty if the class is unknown or transformers is missing.
    """
    with contextlib.suppress(Exception):  # of foreign configs and classes; the caller then goes by the names
        small, large = (_shapes(config, more) for more in (0, VOCABULARY_STEP))
        renamed = class_names(config, names)
        found = {name: renamed.get(name, name) for name in names}
        return {name: small[own][:1] != large[own][:1] for name, own in found.items() if own in small}
    return {}


def _shapes(config: Mapping[str, Any], more: int) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors of the model class, its vocabulary `more` tokens larger."""
    import torch
    import transformers

    settings = transformers.CONFIG_MAPPING[config["model_type"]].from_dict(dict(config))
    text = settings.get_text_config()
    text.vocab_size += more
    with torch.device("meta"):
        model = getattr(transformers, config["architectures"][0])(settings)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
