"""Low-rank adapters (arXiv 2106.09685), on frozen weights in 16 or 4 bits (arXiv 2305.14314)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from src.models.quantized import bitsandbytes
from src.models.spec import LoraSettings
from src.utils.seeding import derive_seed

NAME = "default"


def add_adapters(network: PreTrainedModel, settings: LoraSettings, seed: int) -> None:
    """Add adapters to a network in place; only they are trained, in float32.

    Args:
        network: With its weights, in any type, or on the meta device; adapters on that have no values yet.
        settings: Sizes of the adapters, and the layers that get one.
        seed: Seed of their initial weights.
    """
    bitsandbytes()  # peft imports it too
    from peft import LoraConfig, inject_adapter_in_model

    targets = settings.targets if isinstance(settings.targets, str) else list(settings.targets)
    config = LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, lora_dropout=settings.dropout, target_modules=targets,
        task_type="CAUSAL_LM",
    )  # fmt: skip
    is_empty = any(parameter.is_meta for parameter in network.parameters())
    with torch.random.fork_rng(devices=[]):  # peft draws values, which are replaced below
        inject_adapter_in_model(config, network, adapter_name=NAME, low_cpu_mem_usage=is_empty)
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
            drawn = None if is_empty else initial_values(name, parameter.shape, seed)
            if drawn is not None:
                parameter.data.copy_(drawn)


def initial_values(name: str, shape: torch.Size, seed: int) -> torch.Tensor | None:
    """Values of an adapter's matrix before training; they depend only on the arguments, for any number of ranks.

    A is uniform as in PEFT (Kaiming's bound for a = sqrt(5), which is the root of the reciprocal input width), B is 0.

    Args:
        name: Of the parameter.
        shape: Rank and input width of A, output width and rank of B.
        seed: Of the run.

    Returns:
        The whole matrix in float32; None: the parameter belongs to the base.
    """
    if ".lora_B." in name:
        return torch.zeros(shape)
    if ".lora_A." not in name:
        return None
    generator = torch.Generator().manual_seed(derive_seed("adapter", seed, name))
    return (2 * torch.rand(shape, generator=generator) - 1) / math.sqrt(shape[1])


def base_name(name: str) -> str:
    """Return the name in the base checkpoint of a frozen weight in a network with adapters."""
    return name.replace(".base_layer.", ".")


def parameter_counts(place: Path, lora: LoraSettings | None) -> tuple[int, int]:
    """Count the weights of a network and those that are trained, without loading any.

    Args:
        place: Directory with its `config.json`.
        lora: Adapters, if only they are trained.
    """
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(place))
        whole = sum(parameter.numel() for parameter in network.parameters())
        if lora is not None:
            add_adapters(network, lora, 0)
    return whole, sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def adapter_updates(network: torch.nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the name of each weight with an adapter, and a function that computes the adapter's update."""
    from peft.tuners.lora import LoraLayer

    for name, module in network.named_modules():
        if isinstance(module, LoraLayer):
            yield f"{name}.weight", cast(Any, module).get_delta_weight
