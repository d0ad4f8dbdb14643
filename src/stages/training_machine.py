"""Whether a training run can work on this machine, told before anything is read, drawn or written."""

from __future__ import annotations

from pathlib import Path

from src.lit_modules.memory import demand, device_memory, require_memory
from src.lit_modules.world import World
from src.models import ModelSpec, choose_attention, model_config, wants_liger
from src.stages.training_options import TrainingOptions
from src.utils.errors import UserError


def require_machine(model: ModelSpec, base: Path | None, options: TrainingOptions, world: World) -> None:
    """Refuse a run whose parts do not go together on so many devices, or whose model does not fit them.

    Args:
        model: What is trained; its config is the directory's, or the built-in architecture before a download.
        base: Checkpoint to start from instead of the model's own.
        options: Settings of the run.
        world: Processes.

    Raises:
        UserError: A kernel that is named is not there, quantised weights or moments on several devices, or too little
            memory; what would fit is said.
    """
    gpu, half = options.trainer.accelerator == "gpu", options.trainer.half
    choose_attention(model.attention, packed=options.batches.packing, half=half, gpu=gpu)
    wants_liger(model.liger)
    if world.size > 1 and model.adapter == "qlora":
        raise UserError("model.adapter=qlora is for one GPU; with several take model.adapter=lora")
    if world.size > 1 and options.optimizer.kind != "adamw":
        raise UserError(
            f"optimizer={options.optimizer.kind} is for one GPU; on {world.size} take optimizer=adamw, whose moments "
            "are divided over them"
        )
    places = [Path(place) for place in (base, model.path) if place is not None]
    place = next((place for place in places if (place / "config.json").is_file()), None)
    if place is None and model.architecture is None:
        return  # the pocket model, which fits anywhere, or a model that is known only once it is downloaded
    need = demand(
        model_config(place, model.architecture, shrink=model.shrink), options.batches.micro_batch,
        options.batches.max_length, rank_of_adapter=None if model.adapter is None else model.lora.rank,
        optimizer=options.optimizer.kind, half=half, checkpointing=model.gradient_checkpointing,
        quantised=model.adapter == "qlora", ranks=world.size,
    )  # fmt: skip
    available = device_memory(gpu) / (1 if gpu else world.size)
    require_memory(need, available, "a GPU's memory" if gpu else "memory")
