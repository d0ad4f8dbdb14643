"""Randomly initialized networks: the full architecture, or two narrow layers of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from src.utils.errors import UserError
from src.utils.seeding import derive_seed

SHRUNKEN = {"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}


def model_config(
    path: Path | None,
    architecture: Mapping[str, Any] | None,
    *,
    shrink: bool = False,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> PreTrainedConfig:
    """Build the config of a randomly initialized network.

    Args:
        path: Directory with `config.json`; it takes precedence over `architecture`.
        architecture: Fields of a `config.json`, with `model_type`.
        shrink: Two layers of width 64; vocabulary, tying and position encoding stay the family's.
        tokenizer: If given, its special tokens and, if it belongs to another family, its vocabulary size are used.

    Raises:
        UserError: There is neither a `config.json` nor an `architecture`.
    """
    if path is not None and (path / "config.json").is_file():
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    elif architecture is not None:
        config = AutoConfig.for_model(**architecture)
    else:
        raise UserError(f"no config.json in {path} and no model.architecture; random weights need one of them")
    if shrink:
        _shrink(config)
    if tokenizer is not None:
        _fit_vocabulary(config, tokenizer)
    return config


def draw_model(config: PreTrainedConfig, seed: int, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Draw a network whose weights depend only on `config` and `seed`; global random states are unchanged."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("init", seed))
        return AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")


def _shrink(config: Any) -> None:
    heads = SHRUNKEN["num_attention_heads"]
    grouped = config.num_key_value_heads < config.num_attention_heads
    present: dict[str, Any] = {"head_dim": 16, "max_window_layers": 2, "layer_types": ["full_attention"] * 2}
    for name, value in {**SHRUNKEN, "num_key_value_heads": heads // 2 if grouped else heads}.items():
        setattr(config, name, value)
    for name, value in present.items():
        if getattr(config, name, None) is not None:
            setattr(config, name, value)


def _fit_vocabulary(config: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    # published vocabularies are padded to a multiple of 128 or 256; one far larger is another tokenizer's
    if not len(tokenizer) <= config.vocab_size < len(tokenizer) + 1024:
        config.vocab_size = len(tokenizer)
    config.bos_token_id, config.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
    config.pad_token_id = tokenizer.pad_token_id
