"""The pocket model: a Qwen2 of about one million parameters with random weights, as a Hugging Face directory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from src.data.examples import Example
from src.models import without_bars
from src.models.save import save_config, save_tokenizer
from src.pocket.sources import PocketSource
from src.pocket.tokenizer import VOCABULARY, train_tokenizer
from src.utils.seeding import derive_seed


@dataclass(frozen=True)
class PocketModel:
    """Architecture of a pocket model: the node `strategy.architecture` of conf/strategy/base.yaml.

    Args:
        vocabulary: Number of tokens.
        context_length: Maximum input length in tokens.
        width: Hidden size.
        layers: Decoder layers.
        heads: Attention heads.
        key_value_heads: Key and value heads; divides `heads`.
        mlp_width: Inner size of the MLP; None: 7/3 of the width.
    """

    vocabulary: int = VOCABULARY
    context_length: int = 256
    width: int = 128
    layers: int = 4
    heads: int = 4
    key_value_heads: int = 2
    mlp_width: int | None = 384

    def write(self, directory: Path, corpus: Iterable[Example] | None = None, seed: int = 0) -> Path:
        """Write an untrained model that plain `transformers` loads: tokenizer, configs and random weights.

        Args:
            directory: Created if missing.
            corpus: Rows to train the tokenizer on; None: the base's training rows of `seed`.
            seed: Seed of the corpus and the weights.

        Returns:
            `directory`.
        """
        rows = PocketSource("base", seed=seed).examples("train") if corpus is None else corpus
        tokenizer = train_tokenizer(rows, self.vocabulary, self.context_length)
        model = _random_model(self.config(tokenizer), seed)
        model.generation_config = _generation_config(tokenizer)
        with without_bars():
            model.save_pretrained(directory)
        save_config(model.config, directory)
        save_tokenizer(tokenizer, directory)
        return directory

    def config(self, tokenizer: PreTrainedTokenizerFast) -> Qwen2Config:
        """The Qwen2 config of this architecture."""
        return Qwen2Config(
            vocab_size=self.vocabulary,
            hidden_size=self.width,
            intermediate_size=round(self.width * 7 / 3) if self.mlp_width is None else self.mlp_width,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.key_value_heads,
            max_position_embeddings=self.context_length,
            tie_word_embeddings=True,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
            dtype="float32",
        )


def _random_model(config: Qwen2Config, seed: int) -> Qwen2ForCausalLM:
    with torch.random.fork_rng(
        devices=[]
    ):  # the weights depend only on `seed`, and the caller's random stream is unchanged
        torch.manual_seed(derive_seed("pocket weights", seed))
        return Qwen2ForCausalLM(config)


def _generation_config(tokenizer: PreTrainedTokenizerFast) -> GenerationConfig:
    return GenerationConfig(
        do_sample=False,
        eos_token_id=[tokenizer.eos_token_id, tokenizer.pad_token_id],
        pad_token_id=tokenizer.pad_token_id,
    )
