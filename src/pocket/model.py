"""The pocket model: a Qwen2 of about one million parameters with random weights, as a Hugging Face directory."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from src.data.examples import Example
from src.models import without_bars
from src.pocket.sources import PocketSource
from src.pocket.tokenizer import train_tokenizer
from src.utils.seeding import derive_seed

VOCABULARY = 1024
CONTEXT_LENGTH = 256


def build_pocket(
    directory: Path,
    corpus: Iterable[Example] | None = None,
    seed: int = 0,
    *,
    vocabulary: int = VOCABULARY,
    context_length: int = CONTEXT_LENGTH,
    width: int = 128,
    layers: int = 4,
    heads: int = 4,
    key_value_heads: int = 2,
    mlp_width: int = 384,
) -> Path:
    """Write an untrained pocket model that plain `transformers` loads: tokenizer, configs and random weights.

    Args:
        directory: Where; created.
        corpus: Rows that the tokenizer is trained on; None: the base's training rows of `seed`.
        seed: Of the corpus and the weights.
        vocabulary: Tokens.
        context_length: Longest input in tokens.
        width: Hidden size.
        layers: Decoder layers.
        heads: Attention heads.
        key_value_heads: Key and value heads; divides `heads`.
        mlp_width: Inner size of the MLP.

    Returns:
        `directory`.
    """
    rows = PocketSource("base", seed=seed).examples("train") if corpus is None else corpus
    tokenizer = train_tokenizer(
        (text for row in rows for text in (row.prompt, row.answer) if text), vocabulary, context_length
    )
    config = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=mlp_width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_value_heads,
        max_position_embeddings=context_length,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        dtype="float32",
    )
    model = _random_model(config, seed)
    model.generation_config = _generation_config(tokenizer)
    with without_bars():
        model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def _random_model(config: Qwen2Config, seed: int) -> Qwen2ForCausalLM:
    with torch.random.fork_rng(devices=[]):  # the weights depend on `seed` alone and disturb no one's random stream
        torch.manual_seed(derive_seed("pocket weights", seed))
        return Qwen2ForCausalLM(config)


def _generation_config(tokenizer: PreTrainedTokenizerFast) -> GenerationConfig:
    return GenerationConfig(
        do_sample=False,
        eos_token_id=[tokenizer.eos_token_id, tokenizer.pad_token_id],
        pad_token_id=tokenizer.pad_token_id,
    )
