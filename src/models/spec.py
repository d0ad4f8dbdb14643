"""A base model as conf/model describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from src.utils.errors import UserError, unknown_choice

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
INITS = ("pretrained", "random")
DATA = ("pocket", "real")
ADAPTERS = ("lora", "qlora")


@dataclass(frozen=True)
class Recipe:
    """Default training settings of a model.

    Args:
        learning_rate: Peak learning rate.
        max_length: Longest training row in tokens.
        micro_batch: Rows of one forward pass.
        batch_size: Rows per optimizer step, over all ranks.
        epochs: Passes over the training rows; set this or `steps`.
        steps: Optimizer steps; set this or `epochs`.
        packing: Whether rows share a line, with attention blocked between them.
        accelerator: "cpu" or "gpu": the device with `trainer=auto`.
    """

    learning_rate: float
    max_length: int
    micro_batch: int
    batch_size: int
    epochs: float | None = None
    steps: int | None = None
    packing: bool = True
    accelerator: str = "gpu"


@dataclass(frozen=True)
class LoraSettings:
    """Low-rank adapters (arXiv 2106.09685), over 4-bit weights with `model.adapter=qlora` (arXiv 2305.14314).

    Args:
        rank: Inner dimension of an adapter.
        alpha: Its output is scaled by alpha / rank.
        dropout: Dropout on its input during training, 0-1.
        targets: Names of the linear layers that get one, or "all-linear".
    """

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    targets: tuple[str, ...] | str = "all-linear"


@dataclass(frozen=True)
class ModelSpec:
    """A base model: the node of conf/model.

    Args:
        name: Used in the names of run directories.
        data: "pocket" or "real": the sources and benchmarks that tasks use with it.
        path: Directory or Hugging Face name; None: this repository trains the base (the pocket model).
        recipe: Defaults of its fine-tuning.
        tokenizer: Directory or Hugging Face name of its tokenizer; None: the checkpoint's own.
        pretraining: Training settings of its base, if this repository pretrains it.
        revision: Branch, tag or commit of a Hugging Face name.
        context_length: Maximum number of tokens that the model can attend to.
        dtype: Type of exported weights: "float32", "bfloat16" or "float16".
        attention: Attention backend (see `src.models.attention`), or "auto".
        gradient_checkpointing: Recompute activations in the backward pass; None: if memory is short.
        compile: Compile every decoder layer with torch.compile.
        liger: Liger kernels: True, False, or None: if they are installed and there is a GPU.
        init: "pretrained" reads weights, "random" draws them in the size of `architecture`.
        shrink: Keep only two narrow layers with fresh weights: a fast stand-in with the same architecture.
        architecture: Fields of `config.json` with `model_type`, so that drawing weights needs no files.
        chat_template: Jinja template that replaces the tokenizer's own; None keeps that.
        eos_token: End token that replaces the tokenizer's own; None keeps that.
        adapter: None trains all weights; "lora" or "qlora" trains low-rank adapters, which the export merges in.
        lora: Sizes of the adapters.
    """

    name: str
    data: str
    path: str | None
    recipe: Recipe
    context_length: int
    tokenizer: str | None = None
    pretraining: Recipe | None = None
    revision: str | None = None
    dtype: str = "bfloat16"
    attention: str = "auto"
    gradient_checkpointing: bool | None = False
    compile: bool = False
    liger: bool | None = None
    init: str = "pretrained"
    shrink: bool = False
    architecture: Mapping[str, Any] | None = None
    chat_template: str | None = None
    eos_token: str | None = None
    adapter: str | None = None
    lora: LoraSettings = field(default_factory=LoraSettings)

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("model.data", self.data, DATA),
            ("model.dtype", self.dtype, DTYPES),
            ("model.init", self.init, INITS),
            ("model.adapter", self.adapter, (*ADAPTERS, None)),
        ):
            if value not in choices:
                raise unknown_choice(name, str(value), [str(choice) for choice in choices])
        if self.path is None and (self.shrink or self.init == "random"):
            raise UserError(f"debug=shrink and model.init=random are for published models; {self.name} is trained here")

    @property
    def is_drawn(self) -> bool:
        """True if its base is random weights in a known architecture instead of a published checkpoint."""
        return self.path is not None and (self.init == "random" or self.shrink)

    def require_fitting(self, max_length: int) -> None:
        """Check the row length of a run against the context length.

        Raises:
            UserError: Rows of `max_length` tokens are longer than the model can attend to.
        """
        if max_length > self.context_length:
            raise UserError(
                f"strategy.max_length={max_length} is longer than the context of {self.name}, "
                f"model.context_length={self.context_length}; lower strategy.max_length"
            )


def torch_dtype(name: str) -> torch.dtype:
    """Return the torch type of a config name.

    Raises:
        UserError: An unknown name; the choices are listed.
    """
    if name not in DTYPES:
        raise unknown_choice("dtype", name, list(DTYPES))
    return DTYPES[name]
