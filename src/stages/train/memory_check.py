"""Check that a training run fits this machine, before anything is read, drawn or written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from src.lit_modules.memory import Demand, demand, device_memory, fits, require_memory
from src.lit_modules.options import FitOptions
from src.lit_modules.world import World
from src.models import ModelSpec, choose_attention, model_config, wants_liger
from src.utils.errors import UserError


def for_this_machine(model: ModelSpec, base: Path | None, options: FitOptions, world: World) -> ModelSpec:
    """Decide the settings that depend on the machine: whether activations are recomputed.

    Args:
        model: The model; its config is that of the directory, or the built-in architecture before a download.
        base: Checkpoint to start from instead of the model's own.
        options: Settings of the run.
        world: Processes.

    Raises:
        UserError: A kernel is not installed, weights or moments are quantized on several devices, or there is too
            little memory; the message lists changes that would fit.
    """
    gpu, half = options.trainer.accelerator == "gpu", options.trainer.half
    choose_attention(model.attention, packed=options.batches.packing, half=half, gpu=gpu)
    wants_liger(model.liger)
    if world.size > 1 and model.adapter == "qlora":
        raise UserError("model.adapter=qlora needs one GPU; on several set model.adapter=lora")
    if world.size > 1 and options.optimizer.kind != "adamw":
        raise UserError(
            f"optimizer={options.optimizer.kind} needs one GPU; on {world.size} set optimizer=adamw, whose moments "
            "are sharded"
        )
    need = _demand(model, base, options, world)
    if need is None:
        return replace(model, gradient_checkpointing=model.gradient_checkpointing is not False)
    available = device_memory(gpu) / (1 if gpu else world.size)
    if model.gradient_checkpointing is None:
        need = replace(need, checkpointing=not fits(replace(need, checkpointing=False), available))
    require_memory(need, available, gpu)
    return replace(model, gradient_checkpointing=need.checkpointing)


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
