"""Comparison of two `config.json` by what changes the forward pass."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

# Fields of training, of generation, of the file's origin, and those that the tables of tensors show anyway.
IGNORED = re.compile(
    r"(^|\.)(_.*|.*dropout.*|.*_pdrop|initializer.*|.*_init_std|init_std|.*aux_loss.*|transformers_version|torch_dtype|dtype"
    r"|architectures|use_cache|gradient_checkpointing|output_\w+|return_dict|tie_word_embeddings|vocab_size"
    r"|.*token_ids?|id2label|label2id|num_labels|problem_type|finetuning_task|task_specific_params|pretraining_tp"
    r"|auto_map|quantization_config|torchscript|chunk_size_feed_forward|max_window_layers|label_smoothing"
    r"|summary_\w+|classifier_\w+|max_position_embeddings|transformers_weights)$"
)
SCALED = ("dynamic", "yarn", "longrope")  # rotary embeddings that look at max_position_embeddings


def config_differences(base: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """List the fields that change the forward pass and differ, in the order of their names.

    Fields that one file leaves out, or writes in the words of another version, have what the model class makes of them;
    the class is asked only where the files differ as they are.

    Args:
        base: The parsed `config.json` of the base; empty if there is none.
        other: That of a specialist.
    """
    if "model_type" not in base or "model_type" not in other or not _differing(base, other):
        return []
    if base["model_type"] != other["model_type"]:
        return [f"model_type is {base['model_type']!r} in the base, {other['model_type']!r} here"]
    ours, theirs = _completed(base), _completed(other)
    if ours is None or theirs is None:  # a class that is not known here: compare what both say
        ours, theirs = _common(base, other), _common(other, base)
    names = _differing(ours, theirs)
    flat, other_flat = dict(_flatten(ours)), dict(_flatten(theirs))
    return [f"{name} is {flat.get(name)!r} in the base, {other_flat.get(name)!r} here" for name in names]


def harmless_differences(base: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """List the fields that differ and do not change the forward pass, in the order of their names."""
    ours, theirs = dict(_flatten(base)), dict(_flatten(other))
    weighty = set(_differing(base, other))
    names = sorted(n for n in ours.keys() | theirs.keys() if ours.get(n) != theirs.get(n) and n not in weighty)
    return [f"{name} is {ours.get(name)!r} in the base, {theirs.get(name)!r} here" for name in names]


def quantization(config: Mapping[str, Any]) -> str | None:
    """Name of the method that a config says its weights are quantized with; None if they are not."""
    for part in (config, config.get("text_config") or {}):
        for key in ("quantization_config", "compression_config"):
            if found := part.get(key):
                return (
                    str(found.get("quant_method") or found.get("quant_type") or key) if isinstance(found, dict) else key
                )
    return None


def _differing(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[str]:
    ours, theirs = dict(_flatten(left)), dict(_flatten(right))
    names = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    scaled = any(value in SCALED for name, value in ours.items() if name.endswith(("rope_type", "rope_scaling.type")))
    return [n for n in names if not IGNORED.search(n) or (scaled and n.endswith("max_position_embeddings"))]


def _flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", list(value) if isinstance(value, tuple) else value


def _common(config: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key in other}


def _completed(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The config with all fields of its class and no others; None if transformers does not have the class."""
    try:
        from transformers import CONFIG_MAPPING

        found = CONFIG_MAPPING[config["model_type"]]
        known = found().to_dict()
        completed = found.from_dict(dict(config)).to_dict()
    except Exception:  # not installed, or remote code
        return None
    return {key: value for key, value in completed.items() if key in known}
