"""Facts about a checkpoint that only its model class knows, asked of transformers where it is installed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
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
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightRenaming, rename_source_key

    model = _empty_model(json.dumps(config, sort_keys=True))
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


@dataclass(frozen=True)
class ClassParameter:
    """A parameter of a module of a model class.

    Args:
        name: In its module.
        shape: Of the parameter.
        transposed: The module stores its experts (E, in, out).
    """

    name: str
    shape: tuple[int, ...]
    transposed: bool


def class_parameters(config: Mapping[str, Any], module: str) -> list[ClassParameter] | None:
    """Parameters that a module of the model class declares itself, in its order.

    Args:
        config: The parsed `config.json`.
        module: As the class names it.

    Returns:
        None if the class is unknown or transformers is missing; nothing if it has no such module.
    """
    try:
        model = _empty_model(json.dumps(config, sort_keys=True))
    except Exception:  # of foreign configs and classes
        return None
    with contextlib.suppress(AttributeError):
        owner = model.get_submodule(module)
        transposed = bool(getattr(owner, "is_transposed", False))
        return [
            ClassParameter(name, tuple(values.shape), transposed)
            for name, values in owner.named_parameters(recurse=False)
        ]
    return []


@dataclass(frozen=True)
class StackedPart:
    """The place of a tensor of a file in a tensor of the class, which stacks the experts: (E, rows, columns).

    Args:
        name: Of the stacked tensor, as the class names it.
        expert: Index in the first dimension.
        start: First row.
        stop: Row after the last.
    """

    name: str
    expert: int
    start: int
    stop: int


def stacked_parts(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, StackedPart]:
    """Find the tensors of a file that transformers stacks when it loads them, each expert's one behind the other.

    Args:
        config: The parsed `config.json`.
        shapes: Of the tensors in a file.

    Returns:
        By name in the file; empty if the class stacks nothing, does more than stacking and joining rows, or is unknown.
    """
    with contextlib.suppress(Exception):  # of foreign configs and classes; the caller then finds no such tensor
        return _stacked_parts(config, shapes)
    return {}


def _stacked_parts(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, StackedPart]:
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, dot_natural_key, rename_source_key

    model = _empty_model(json.dumps(config, sort_keys=True))
    rules = get_model_conversion_mapping(model)
    renamings = [rule for rule in rules if isinstance(rule, WeightRenaming)]
    converters = [rule for rule in rules if isinstance(rule, WeightConverter) and _only_stacks(rule)]
    known, prefix = model.state_dict(), model.base_model_prefix
    order = [pattern for rule in converters for pattern in rule.source_patterns]
    groups: dict[str, dict[str, list[str]]] = {}
    for name in sorted(shapes, key=dot_natural_key):
        target, pattern = rename_source_key(name, renamings, converters, prefix, known)
        if pattern is not None and target in known:
            groups.setdefault(target, {}).setdefault(pattern, []).append(name)
    found: dict[str, StackedPart] = {}
    for target, sources in groups.items():
        start = 0
        for pattern in sorted(sources, key=order.index):
            rows = shapes[sources[pattern][0]][0]
            for expert, name in enumerate(sources[pattern]):
                found[name] = StackedPart(target, expert, start, start + rows)
            start += rows
        if start != known[target].shape[1]:
            return {}
    return found


def _only_stacks(rule: Any) -> bool:
    """True if a rule of transformers stacks the experts, and at most joins the rows of several stacks."""
    steps = [(type(step).__name__, step.dim) for step in rule.operations if hasattr(step, "dim")]
    stack, join = ("MergeModulelist", 0), ("Concatenate", 1)
    return len(steps) == len(rule.operations) and steps in ([stack], [stack, join])


@lru_cache(maxsize=4)
def _empty_model(config: str, more_tokens: int = 0) -> Any:
    """The model class of a config, without storage for its parameters."""
    import torch
    import transformers

    content = json.loads(config)
    settings = transformers.CONFIG_MAPPING[content["model_type"]].from_dict(content)
    if more_tokens:
        settings.get_text_config().vocab_size += more_tokens
    with torch.device("meta"):
        return getattr(transformers, content["architectures"][0])(settings)


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
    model = _empty_model(json.dumps(config, sort_keys=True), more)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
