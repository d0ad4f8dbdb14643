"""A base model as conf/model describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, Strict

from src.utils.errors import UserError, unknown_choice
from src.utils.validation import checked_dataclass

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
Dtype = Literal["float32", "bfloat16", "float16"]
Count = Annotated[int, Field(ge=1)]


@checked_dataclass("model.recipe")
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

    learning_rate: Annotated[float, Field(gt=0)]
    max_length: Count
    micro_batch: Count
    batch_size: Count
    epochs: Annotated[float, Field(gt=0)] | None = None
    steps: Count | None = None
    packing: bool = True
    accelerator: Literal["cpu", "gpu"] = "gpu"


@checked_dataclass("model.lora")
class LoraSettings:
    """Low-rank adapters (arXiv 2106.09685), over 4-bit weights with `model.adapter=qlora` (arXiv 2305.14314).

    Args:
        rank: Inner dimension of an adapter.
        alpha: Its output is scaled by alpha / rank.
        dropout: Dropout on its input during training, 0-1.
        targets: Names of the linear layers that get one, or "all-linear".
    """

    rank: Count = 16
    alpha: Count = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    targets: Annotated[tuple[str, ...], Strict(False)] | str = "all-linear"  # YAML has lists alone


@checked_dataclass("model")
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
        liger: Liger kernels: True, False, or None: if they are installed and the run uses a GPU.
        init: "pretrained" reads weights, "random" draws them in the size of `architecture`.
        shrink: Keep only two narrow layers with fresh weights: a fast stand-in with the same architecture.
        architecture: Fields of `config.json` with `model_type`, so that drawing weights needs no files.
        chat_template: Jinja template that replaces the tokenizer's own; None keeps that.
        eos_token: End token that replaces the tokenizer's own; None keeps that.
        adapter: None trains all weights; "lora" or "qlora" trains low-rank adapters, which the export merges in.
        lora: Sizes of the adapters.
    """

    name: str
    data: Literal["pocket", "real"]
    path: str | None
    recipe: Recipe
    context_length: Count
    tokenizer: str | None = None
    pretraining: Recipe | None = None
    revision: str | None = None
    dtype: Dtype = "bfloat16"
    attention: str = "auto"
    gradient_checkpointing: bool | None = False
    compile: bool = False
    liger: bool | None = None
    init: Literal["pretrained", "random"] = "pretrained"
    shrink: bool = False
    architecture: Mapping[str, Any] | None = None
    chat_template: str | None = None
    eos_token: str | None = None
    adapter: Literal["lora", "qlora"] | None = None
    lora: LoraSettings = field(default_factory=LoraSettings)

    def __post_init__(self) -> None:
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
