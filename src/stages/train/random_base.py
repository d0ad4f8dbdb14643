"""A base checkpoint with random weights in a published architecture, for runs without a download."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from src.data.examples import Example
from src.lit_modules.export import export_checkpoint
from src.models import ModelSpec, draw_model, load_tokenizer, local_directory, model_config, torch_dtype
from src.pocket.tokenizer import VOCABULARY, train_tokenizer
from src.stages.checkpoints import WITHOUT_WEIGHTS
from src.utils.errors import UserError


def write_random_base(model: ModelSpec, rows: Sequence[Example], seed: int, directory: Path) -> None:
    """Write config, random weights and tokenizer of a model as a Hugging Face directory.

    Args:
        model: With `init` "random" or `shrink`.
        rows: With `model.data=pocket`, the tokenizer is trained on them, unless `model.tokenizer` names one.
        seed: Of the weights.
        directory: Where it is written.

    Raises:
        UserError: There is no tokenizer or no architecture.
    """
    tokenizer = base_tokenizer(model, rows)
    config = model_config(_local(model), model.architecture, shrink=model.shrink, tokenizer=tokenizer)
    dtype = torch_dtype(model.dtype)
    export_checkpoint(draw_model(config, seed, dtype), tokenizer, directory, dtype)


def base_tokenizer(model: ModelSpec, rows: Sequence[Example]) -> PreTrainedTokenizerBase:
    """The tokenizer of a base with random weights, with the model's end token.

    Args:
        model: See `write_random_base`.
        rows: See `write_random_base`.

    Raises:
        UserError: There is none.
    """
    tokenizer = _tokenizer(model, rows)
    if model.eos_token is not None:
        tokenizer.eos_token = model.eos_token
    return tokenizer


def _tokenizer(model: ModelSpec, rows: Sequence[Example]) -> PreTrainedTokenizerBase:
    if model.tokenizer is None and model.data == "pocket":
        return train_tokenizer(rows, VOCABULARY, model.context_length)
    assert model.path is not None
    path = model.tokenizer or model.path
    try:
        place = local_directory(path, "model.tokenizer", model.revision, WITHOUT_WEIGHTS, weights=False)
    except UserError:
        if model.tokenizer is not None:
            raise
        raise UserError(
            f"random weights need a tokenizer, and {path} is not in the local Hugging Face cache and cannot be "
            f"downloaded: set model.tokenizer=DIR, or model.data=pocket to train one on generated rows"
        ) from None
    return load_tokenizer(place)


def _local(model: ModelSpec) -> Path | None:
    """The model's directory, if `path` is one."""
    return Path(model.path) if model.path is not None and Path(model.path).is_dir() else None
