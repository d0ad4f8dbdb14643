"""Low-rank adapters (arXiv 2106.09685), on frozen weights in 16 or 4 bits (arXiv 2305.14314)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from transformers import PreTrainedModel

from src.models.quantized import bitsandbytes
from src.models.spec import LoraSettings

NAME = "default"


def add_adapters(network: PreTrainedModel, settings: LoraSettings, seed: int) -> None:
    """Add adapters to a network in place; only they are trained, in float32.

    Args:
        network: With its weights, in any type.
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
    with torch.random.fork_rng(devices=[]):  # the network is on the CPU, or quantized and draws nothing on the GPU
        torch.manual_seed(seed)
        inject_adapter_in_model(config, network, adapter_name=NAME)
    for parameter in network.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def adapter_updates(network: torch.nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the name of each weight with an adapter, and a function that computes the adapter's update."""
    from peft.tuners.lora import LoraLayer

    for name, module in network.named_modules():
        if isinstance(module, LoraLayer):
            yield f"{name}.weight", cast(Any, module).get_delta_weight
