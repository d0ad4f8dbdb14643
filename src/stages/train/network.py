"""Prepare the network of a training run: choose settings that depend on the machine, then load it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from transformers import PreTrainedModel

from src.lit_modules.memory import Demand, cheapest, demand, device_memory, require_memory
from src.lit_modules.options import FitOptions
from src.lit_modules.world import World, resolve_world
from src.models import (
    ModelSpec,
    apply_kernels,
    choose_attention,
    empty_model,
    load_model,
    model_config,
    narrow_stream,
    recompute_activations,
    torch_dtype,
    wants_liger,
)
from src.models.adapters import add_adapters
from src.models.attention import BACKENDS
from src.models.quantized import quantization
from src.utils.errors import UserError
from src.utils.progress import say


def for_this_machine(
    model: ModelSpec, base: Path | None, options: FitOptions, world: World
) -> tuple[ModelSpec, FitOptions]:
    """Choose the settings that depend on the machine: the size of a micro-batch, and whether to recompute activations.

    Args:
        model: The model; its config is read from its directory, or is the built-in architecture before a download.
        base: Checkpoint to start from instead of the model's own.
        options: Settings of the run.
        world: Processes.

    Returns:
        The model and the settings. With `model.gradient_checkpointing=null` the micro-batch is the largest one up to
        `strategy.micro_batch` that fits without recomputation.

    Raises:
        UserError: A kernel is not installed, weights or moments are quantized on several devices, or memory is too
            small; the message lists changes that would fit.
    """
    gpu, half = options.trainer.accelerator == "gpu", options.trainer.half
    choose_attention(model.attention, packed=options.batches.packing, half=half, gpu=gpu)
    wants_liger(model.liger, gpu)
    if world.size > 1 and model.adapter == "qlora":
        raise UserError("model.adapter=qlora needs a single GPU; on several, set model.adapter=lora")
    if world.size > 1 and options.optimizer.kind != "adamw":
        raise UserError(
            f"optimizer={options.optimizer.kind} needs a single GPU; on {world.size}, set optimizer=adamw, whose "
            "moments are sharded"
        )
    need = _demand(model, base, options, world)
    if need is None:
        return replace(model, gradient_checkpointing=model.gradient_checkpointing is not False), options
    available = device_memory(gpu) / (1 if gpu else world.size)
    if model.gradient_checkpointing is None:
        need = cheapest(need, available, smaller=world.nodes == 1)
    require_memory(need, available, gpu)
    batches = replace(options.batches, micro_batch=need.lines)
    return replace(model, gradient_checkpointing=need.checkpointing), replace(options, batches=batches)


def _demand(model: ModelSpec, base: Path | None, options: FitOptions, world: World) -> Demand | None:
    """Return None for the pocket model, which fits anywhere, and for a model whose config is not on disk yet."""
    places = [Path(place) for place in (base, model.path) if place is not None]
    place = next((place for place in places if (place / "config.json").is_file()), None)
    if place is None and model.architecture is None:
        return None
    return demand(
        model_config(place, model.architecture, shrink=model.shrink), options.batches.micro_batch,
        options.batches.max_length, rank_of_adapter=None if model.adapter is None else model.lora.rank,
        optimizer=options.optimizer.kind, half=options.trainer.half,
        checkpointing=model.gradient_checkpointing is not False, quantized=model.adapter == "qlora", ranks=world.size,
    )  # fmt: skip


def training_network(model: ModelSpec, origin: Path, options: FitOptions) -> tuple[PreTrainedModel, list[str]]:
    """Load the network with its attention backend, kernels and adapters.

    Args:
        model: The model.
        origin: Checkpoint to start from.
        options: Settings of the run.

    Returns:
        The network, and the names of its attention backend and kernels for the record. On several ranks it has no
        weights, on the meta device: `fit` fills each rank's shard.

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
    applied = [f"{name} attention", *prepare_network(network, model, half, gpu)]
    if model.data == "real":
        say(
            f"{model.name}: {', '.join(applied)}, micro-batch {options.batches.micro_batch}, "
            f"{options.trainer.resolved_precision}, {world.size} process(es)"
        )
    return network, applied


def prepare_network(network: PreTrainedModel, model: ModelSpec, half: bool, gpu: bool) -> list[str]:
    """Patch the layers of a network as its spec requires; return the names of the changes, for the log.

    Raises:
        UserError: Liger is requested and not installed.
    """
    applied = apply_kernels(network, gpu=gpu, liger=model.liger, compiled=model.compile)
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
