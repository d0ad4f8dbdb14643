"""Preparation of the network of a training run."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import PreTrainedModel

from src.lit_modules.options import FitOptions
from src.lit_modules.world import resolve_world
from src.models import (
    ModelSpec,
    apply_kernels,
    choose_attention,
    empty_model,
    load_model,
    narrow_stream,
    recompute_activations,
    torch_dtype,
)
from src.models.adapters import add_adapters
from src.models.attention import BACKENDS
from src.models.quantized import quantization
from src.utils.progress import say


def training_network(model: ModelSpec, origin: Path, options: FitOptions) -> PreTrainedModel:
    """Load the network with its attention backend, kernels and adapters.

    Args:
        model: The model.
        origin: Checkpoint to start from.
        options: Settings of the run.

    Returns:
        The network; on several ranks without weights, on the meta device: `fit` fills each rank's shard.

    Raises:
        UserError: A requested kernel or backend is not installed.
    """
    gpu, half = options.trainer.accelerator == "gpu", options.trainer.half
    world = resolve_world(options.trainer)
    attention = choose_attention(model.attention, packed=options.batches.packing, half=half, gpu=gpu)
    name = next(key for key, backend in BACKENDS.items() if backend.name == attention)
    if world.size > 1 and model.adapter is None:
        network = empty_model(origin, name)
    else:
        network = _loaded(model, origin, name, half, gpu, options.seed)
    applied = [f"{name} attention", *prepare_network(network, model, half)]
    if model.data == "real":
        say(f"{model.name}: {', '.join(applied)}, {options.trainer.resolved_precision}, {world.size} process(es)")
    return network


def prepare_network(network: PreTrainedModel, model: ModelSpec, half: bool) -> list[str]:
    """Patch the layers of a network as its spec says; return the names of the changes, for the log.

    Raises:
        UserError: Liger is requested and not installed.
    """
    applied = apply_kernels(network, liger=model.liger, compiled=model.compile)
    if half:
        narrow_stream(network)
    if model.gradient_checkpointing:
        recompute_activations(network)
        applied.append("activations recomputed")
    return applied


def _loaded(model: ModelSpec, origin: Path, attention: str, half: bool, gpu: bool, seed: int) -> PreTrainedModel:
    if model.adapter is None:
        return load_model(origin, attention=attention)
    frozen = torch_dtype(model.dtype) if half else torch.float32
    extra = {}
    if model.adapter == "qlora":
        extra = {"quantization_config": quantization(frozen), "device_map": {"": 0 if gpu else "cpu"}}
    network = load_model(origin, dtype=frozen, attention=attention, **extra)
    add_adapters(network, model.lora, seed)
    return network
