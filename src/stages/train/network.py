"""Prepare the network of a training run: choose settings that depend on the machine, then load it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from transformers import PreTrainedModel

from src.lit_modules.memory import Demand, cheapest, demand, device_memory, fits, require_memory
from src.lit_modules.options import FitOptions, TrainerOptions
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
    need = replace(need, whole_gradients=options.trainer.reduce == "last")
    need, trainer = _placed(need, options.trainer, model.gradient_checkpointing, world, available)
    require_memory(need, available, gpu)
    batches = replace(options.batches, micro_batch=need.lines)
    chosen = replace(options, batches=batches, trainer=trainer)
    return replace(model, gradient_checkpointing=need.checkpointing), chosen


def _placed(
    need: Demand, trainer: TrainerOptions, checkpointing: bool | None, world: World, available: float
) -> tuple[Demand, TrainerOptions]:
    """Decide what `auto` and null leave open: the mesh, then micro-batch and recomputation, then the reduction."""
    hybrid = trainer.mesh == "hybrid" or (trainer.mesh == "auto" and world.nodes > 1)
    on_node = replace(need, ranks=world.devices)
    if trainer.mesh == "auto" and hybrid:
        hybrid = fits(replace(on_node, lines=1, checkpointing=checkpointing is not False), available)
    need = on_node if hybrid else need
    if checkpointing is None:
        need = cheapest(need, available, smaller=world.nodes == 1 or hybrid)
    reduce = trainer.reduce
    if reduce == "auto":
        reduce = "last" if fits(replace(need, whole_gradients=True), available) else "every"
    return need, replace(trainer, mesh="hybrid" if hybrid else "full", reduce=reduce)


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
        weights, on the meta device: `fit` fills each rank's shard, that of adapters included.

    Raises:
        UserError: A requested kernel or backend is not installed.
    """
    gpu, half = options.trainer.accelerator == "gpu", options.trainer.half
    world = resolve_world(options.trainer)
    attention = choose_attention(model.attention, packed=options.batches.packing, half=half, gpu=gpu)
    name = next(key for key, backend in BACKENDS.items() if backend.name == attention)
    network = _empty(model, origin, name, half) if world.size > 1 else _loaded(model, origin, name, half, gpu)
    if model.adapter is not None:
        add_adapters(network, model.lora, options.seed)
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


def _empty(model: ModelSpec, origin: Path, attention: str, half: bool) -> PreTrainedModel:
    return empty_model(origin, attention, _held_dtype(model, half))


def _loaded(model: ModelSpec, origin: Path, attention: str, half: bool, gpu: bool) -> PreTrainedModel:
    dtype, extra = _held_dtype(model, half), {}
    if model.adapter == "qlora":
        extra = {"quantization_config": quantization(dtype), "device_map": {"": 0 if gpu else "cpu"}}
    return load_model(origin, dtype=dtype, attention=attention, **extra)


def _held_dtype(model: ModelSpec, half: bool) -> torch.dtype:
    """Type of the base's weights in memory: float32 if they are trained, else that of the products."""
    return torch_dtype(model.dtype) if half and model.adapter is not None else torch.float32
