"""A two-layer Qwen2 with a byte-level tokenizer, made in milliseconds, and rows for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from src.data.budget import Budget
from src.data.examples import Example
from src.data.table import TokenTable
from src.data.tokenize import tokenize
from src.lit_modules.options import BatchOptions

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def tokenizer(template: str | None = CHATML, eos: str | None = "<|im_end|>") -> PreTrainedTokenizerFast:
    """One token a byte, 0-255, then <|endoftext|> 256, <|im_start|> 257, <|im_end|> 258."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<|endoftext|>")
    made.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    made.eos_token = eos
    made.chat_template = template
    return made


def network(seed: int = 0, tied: bool = True, width: int = 32) -> Qwen2ForCausalLM:
    """A freshly drawn model of 260 tokens."""
    config = Qwen2Config(
        vocab_size=260,
        hidden_size=width,
        intermediate_size=width * 3 // 2,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=tied,
        eos_token_id=258,
        pad_token_id=256,
        bos_token_id=None,
    )
    torch.manual_seed(seed)
    return Qwen2ForCausalLM(config)


def rows(task: str, count: int, length: int = 6) -> list[Example]:
    """Rows of differing length."""
    return [Example(f"{task}{i}", task, f"{task} {i}", "ab" * (1 + (i * 7) % length)) for i in range(count)]


PAD = 256


def tables(rows: Mapping[str, Sequence[Example]]) -> dict[str, TokenTable]:
    """Tokenized rows by task."""
    return {task: tokenize(examples, _tokenizer(), 64)[0] for task, examples in rows.items()}


def batches(micro: int, size: int, packing: bool = False, **length: Any) -> BatchOptions:
    """Steps of `size` rows in micro-batches of `micro` lines of at most 64 tokens."""
    return BatchOptions(Budget(batch_size=size, **length), micro, 64, packing)


@cache
def _tokenizer() -> PreTrainedTokenizerFast:
    return tokenizer()
