"""Load tokenizers and networks from a checkpoint on disk."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateSyntaxError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from src.checkpoints.side_files import side_files
from src.models.attention import choose_attention
from src.models.hub import local_directory
from src.utils.errors import UserError
from src.utils.files import read_json_object


def load_tokenizer(
    path: str | Path, *, revision: str | None = None, chat_template: str | None = None, eos_token: str | None = None
) -> PreTrainedTokenizerBase:
    """Load a tokenizer.

    Args:
        path: Checkpoint directory or Hugging Face name.
        revision: Branch, tag or commit of a Hugging Face name.
        chat_template: Jinja template that replaces the tokenizer's own.
        eos_token: End token that replaces the tokenizer's own, for base checkpoints that end documents, not turns.

    Raises:
        UserError: Nothing can be loaded from `path`, or `eos_token` is not in the vocabulary.
    """
    directory = local_directory(str(path), "model.tokenizer", revision, weights=False)
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False)
    except Exception as error:  # the compiled part raises `Exception` itself, and bad values lead anywhere
        _require_readable(directory)
        raise _not_loadable("tokenizer", path, error) from error
    if chat_template is not None:
        tokenizer.chat_template = chat_template
    if eos_token is not None:
        if eos_token not in tokenizer.get_vocab():
            raise UserError(f"model.eos_token={eos_token!r} is not in the vocabulary of {path}")
        tokenizer.eos_token = eos_token
    loaded: PreTrainedTokenizerBase = tokenizer
    if loaded.chat_template is not None:
        _require_template(loaded, path)
    return loaded


def load_model(
    path: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    attention: str = "auto",
    revision: str | None = None,
    **more: Any,
) -> PreTrainedModel:
    """Load a causal language model.

    Args:
        path: Checkpoint directory or Hugging Face name.
        dtype: Type of the weights in memory: float32 for training, because these are the master weights.
        attention: A backend of `src.models.attention`, or "auto": the fastest one installed.
        revision: Branch, tag or commit of a Hugging Face name.
        **more: Further arguments of `from_pretrained`, e.g. a quantization.

    Raises:
        UserError: Nothing can be loaded from `path`, or the attention backend is not available.
    """
    backend = choose_attention(attention)
    directory = local_directory(str(path), "model.path", revision)
    try:
        with without_bars():
            return AutoModelForCausalLM.from_pretrained(
                directory, dtype=dtype, attn_implementation=backend, **more, trust_remote_code=False
            )
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        _require_readable(directory)
        raise _not_loadable("model", path, error) from error


def generation_config(path: Path) -> GenerationConfig:
    """Read end tokens and decoding defaults of a checkpoint: its `generation_config.json`, else its `config.json`."""
    if (path / "generation_config.json").is_file():
        return GenerationConfig.from_pretrained(path)
    return GenerationConfig.from_model_config(AutoConfig.from_pretrained(path, trust_remote_code=False))


def empty_model(path: Path, attention: str = "auto", dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Build a network without parameter storage (meta device), for ranks that read only their shards.

    Args:
        path: Checkpoint directory; only its config and generation config are read.
        attention: As in `load_model`.
        dtype: Of the parameters.
    """
    from accelerate import init_empty_weights

    config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    with init_empty_weights(include_buffers=False):
        network = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=choose_attention(attention))
    network.generation_config = generation_config(path)  # `from_config` makes one without end tokens or penalties
    network.tie_weights()
    return network


def unfilled_model(path: Path, *, dtype: torch.dtype, attention: str = "auto") -> PreTrainedModel:
    """Build a network with uninitialized parameters, to be filled with weights that are not on disk.

    Args:
        path: Checkpoint directory; only its config and generation config are read.
        dtype: Of the parameters.
        attention: As in `load_model`.
    """
    network = empty_model(path, attention)
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            values = torch.empty(parameter.shape, dtype=dtype)
            module.register_parameter(name, nn.Parameter(values, requires_grad=False))
    network.config.dtype = dtype
    network.tie_weights()
    return network


@contextlib.contextmanager
def without_bars() -> Iterator[None]:
    """Hide the progress bars of transformers, which would break ours."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _require_template(tokenizer: PreTrainedTokenizerBase, path: str | Path) -> None:
    try:
        tokenizer.apply_chat_template([{"role": "user", "content": ""}], tokenize=False)
    except TemplateSyntaxError as error:
        raise UserError(f"the chat template of {path} is damaged: line {error.lineno}: {error.message}") from error
    except Exception:  # a template may refuse this conversation, as one that wants a system turn
        return


def _require_readable(directory: Path) -> None:
    """Name the damaged file, which the errors of libraries do not.

    Raises:
        UserError: A JSON file beside the weights is not a JSON object.
    """
    for path in side_files(directory):
        if path.suffix == ".json":
            read_json_object(path)


def _not_loadable(what: str, path: str | Path, error: Exception) -> UserError:
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return UserError(f"cannot load a {what} from {path}: {reason} (expected a Hugging Face directory)")
