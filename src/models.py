"""conf/model -> tokenizer and network."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging
from transformers.utils.import_utils import is_flash_attn_2_available, is_flash_attn_3_available

from src.utils.errors import UserError, unknown_choice
from src.utils.seeding import derive_seed

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
INITS = ("pretrained", "random")
WORLDS = ("pocket", "study")


@dataclass(frozen=True)
class Recipe:
    """How a model is trained unless the command line says otherwise.

    Args:
        learning_rate: Peak learning rate.
        max_length: Longest training row in tokens.
        micro_batch: Rows of one forward pass.
        accumulation: Forward passes of one rank in an optimiser step.
        epochs: Passes over the training rows; this or `steps`.
        steps: Optimiser steps; this or `epochs`.
    """

    learning_rate: float
    max_length: int
    micro_batch: int
    accumulation: int
    epochs: float | None = None
    steps: int | None = None


@dataclass(frozen=True)
class ModelSpec:
    """A base model: the node of conf/model.

    Args:
        name: Used in the names of run directories.
        world: "pocket" or "study": which sources and benchmarks of a task belong to it.
        path: Directory or Hugging Face name; None: the base is made by this repository (the pocket model).
        recipe: Defaults of its fine-tuning.
        pretraining: How its base is made, where this repository makes it.
        revision: Branch, tag or commit of a Hugging Face name.
        context_length: Most tokens the model can attend to.
        dtype: Type of exported weights: "float32", "bfloat16" or "float16".
        attention: Attention backend by its transformers name, or "auto".
        gradient_checkpointing: Recompute activations in the backward pass.
        init: "pretrained" reads weights, "random" draws them in the size of the config.
        shrink: Keep only two narrow layers, freshly drawn: a fast stand-in of the same architecture.
        chat_template: Jinja template that replaces the tokenizer's own; None keeps that.
        eos_token: End token that replaces the tokenizer's own; None keeps that.
    """

    name: str
    world: str
    path: str | None
    recipe: Recipe
    context_length: int
    pretraining: Recipe | None = None
    revision: str | None = None
    dtype: str = "bfloat16"
    attention: str = "auto"
    gradient_checkpointing: bool = False
    init: str = "pretrained"
    shrink: bool = False
    chat_template: str | None = None
    eos_token: str | None = None

    def __post_init__(self) -> None:
        for field, value, choices in (
            ("model.world", self.world, WORLDS),
            ("model.dtype", self.dtype, DTYPES),
            ("model.init", self.init, INITS),
        ):
            if value not in choices:
                raise unknown_choice(field, value, list(choices))
        if self.recipe.max_length > self.context_length:
            raise UserError(
                f"model.recipe.max_length={self.recipe.max_length} is longer than the context of {self.name}, "
                f"model.context_length={self.context_length}"
            )


def torch_dtype(name: str) -> torch.dtype:
    """The torch type of a config name.

    Raises:
        UserError: An unknown name; the choices are listed.
    """
    if name not in DTYPES:
        raise unknown_choice("dtype", name, list(DTYPES))
    return DTYPES[name]


def fastest_attention() -> str:
    """The fastest attention backend that is installed and works on this machine, by its transformers name."""
    for name, available in (
        ("flash_attention_3", is_flash_attn_3_available),
        ("flash_attention_2", is_flash_attn_2_available),
    ):
        if torch.cuda.is_available() and available():
            return name
    return "sdpa"


def load_tokenizer(
    path: str | Path, *, revision: str | None = None, chat_template: str | None = None, eos_token: str | None = None
) -> PreTrainedTokenizerBase:
    """Load a tokenizer.

    Args:
        path: Checkpoint directory or Hugging Face name.
        revision: Branch, tag or commit of a Hugging Face name.
        chat_template: Jinja template that replaces its own.
        eos_token: End token that replaces its own, for base checkpoints that end a document, not a turn.

    Raises:
        UserError: Nothing can be loaded from `path`.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(_existing(path), revision=revision)
    except (OSError, ValueError) as error:
        raise _not_loadable("tokenizer", path, error) from error
    if chat_template is not None:
        tokenizer.chat_template = chat_template
    if eos_token is not None:
        if eos_token not in tokenizer.get_vocab():
            raise UserError(f"model.eos_token={eos_token!r} is not in the vocabulary of {path}")
        tokenizer.eos_token = eos_token
    loaded: PreTrainedTokenizerBase = tokenizer
    return loaded


def load_model(
    path: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    attention: str = "auto",
    revision: str | None = None,
    init: str = "pretrained",
    shrink: bool = False,
    seed: int = 0,
) -> PreTrainedModel:
    """Load a causal language model.

    Args:
        path: Checkpoint directory or Hugging Face name; `config.json` is enough unless weights are read.
        dtype: Type of the weights in memory: float32 to train, since it holds the master weights.
        attention: Backend by its transformers name: "sdpa", "eager", "flash_attention_2", ..., or "auto".
        revision: Branch, tag or commit of a Hugging Face name.
        init: "pretrained" or "random".
        shrink: Two narrow layers of the same architecture, freshly drawn.
        seed: Seed of fresh weights.

    Raises:
        UserError: Nothing can be loaded from `path`, or `init` is unknown.
    """
    if init not in INITS:
        raise unknown_choice("model.init", init, list(INITS))
    attention = fastest_attention() if attention == "auto" else attention
    try:
        if init == "pretrained" and not shrink:
            with _without_bars():
                return AutoModelForCausalLM.from_pretrained(
                    _existing(path), revision=revision, dtype=dtype, attn_implementation=attention
                )
        config = AutoConfig.from_pretrained(_existing(path), revision=revision)
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed("init", seed))
            return AutoModelForCausalLM.from_config(
                _shrunken(config) if shrink else config, dtype=dtype, attn_implementation=attention
            )
    except (OSError, ValueError) as error:
        raise _not_loadable("model", path, error) from error


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """Loading takes seconds and has a bar of its own that would tear ours."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _shrunken(config: Any) -> Any:
    """Two layers of width 64; vocabulary, tying and position encoding stay those of the family."""
    sizes = {"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}
    sizes["num_key_value_heads"] = 2 if config.num_key_value_heads < config.num_attention_heads else 4
    for name, value in sizes.items():
        setattr(config, name, value)
    present: dict[str, Any] = {"head_dim": 16, "max_window_layers": 2, "layer_types": ["full_attention"] * 2}
    for name, value in present.items():
        if getattr(config, name, None) is not None:
            setattr(config, name, value)
    return config


def _existing(path: str | Path) -> str:
    """`path` itself, once it is clear that something meant as a directory is one."""
    looks_local = isinstance(path, Path) or str(path).startswith(("/", ".", "~")) or str(path).count("/") != 1
    if looks_local and not Path(path).is_dir():
        raise UserError(f"no checkpoint directory {path}; set model.path=DIR to a Hugging Face directory")
    return str(path)


def _not_loadable(what: str, path: str | Path, error: Exception) -> UserError:
    if isinstance(error, UserError):
        return error
    reason = str(error).strip().splitlines()[0]
    return UserError(
        f"cannot load a {what} from {path}: {reason} (set model.path=DIR to a local copy, "
        "or model.init=random with a directory that holds config.json and the tokenizer)"
    )
