"""The Lightning trainer as we use it: one epoch of steps, without Lightning's notices."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.loggers import Logger

from src.lit_modules.callbacks.checkpoint import StreamedFiles
from src.lit_modules.options import TrainerOptions
from src.lit_modules.strategy import ShardedStrategy
from src.lit_modules.world import World
from src.utils.errors import Interrupted, Stopped, UserError, first_differences
from src.utils.files import write_json
from src.utils.ranks import rank
from src.utils.signals import restored_handlers

# Lightning announces devices, tips and limits as INFO records, and warns about settings that are intended here.
PLAN = "fit.json"
NAMES = ("lightning", "lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")
MEANT = (
    r".*GPU available but not used.*",
    r".*does not have many workers.*",
    r".*`training_step` returned.*",
    r".*`isinstance\(treespec, LeafSpec\)` is deprecated.*",  # Lightning calls torch's pytree the old way
    r".*is an experimental feature.*",  # ModelParallelStrategy
    r".*The `srun` command is available.*",  # on every login node; `connected` knows which processes srun has started
    r".*cpu_offload.*|.*ShardedTensor.*|.*TypedStorage.*",  # raised by torch's own code while it saves a sharded state
)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Turn Lightning's silent exit on Ctrl-C into `Interrupted`, and restore the previous signal handlers on exit."""
    with restored_handlers():
        try:
            yield
        except SystemExit as end:
            if isinstance(end.__context__, KeyboardInterrupt):
                raise Interrupted(signal.SIGINT) from end
            raise


@contextlib.contextmanager
def enough_memory(checkpoints: Path) -> Iterator[None]:
    """Report GPU memory exhaustion in one line, from the process where it happened."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        reason = str(error).strip().partition(" If reserved")[0].splitlines()[0].rstrip(".")
        raise Stopped(
            f"process {rank()}: {reason}. Checkpoints in {checkpoints} are kept: run the same command with a lower "
            "strategy.micro_batch, model.gradient_checkpointing=true or more GPUs",
            own=True,
        ) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Raise the level of Lightning's loggers to WARNING and ignore the warnings above; restore both on exit."""
    loggers = [logging.getLogger(name) for name in NAMES]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for message in MEANT:
            warnings.filterwarnings("ignore", message=message)
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def build_trainer(
    options: TrainerOptions,
    world: World,
    sharded: bool,
    steps: int,
    callbacks: Sequence[L.Callback],
    loggers: Sequence[Logger],
) -> L.Trainer:
    """Build a trainer that runs `steps` optimizer steps as one epoch.

    Args:
        options: Device and precision.
        world: Processes.
        sharded: Shard the network over them (FSDP2), which then applies half precision itself.
        steps: Optimizer steps of the run.
        callbacks: All callbacks, in the order in which they act.
        loggers: All loggers, the record first.
    """
    trainer = L.Trainer(
        accelerator=options.accelerator,
        max_epochs=1,
        max_steps=steps,
        limit_val_batches=0,
        callbacks=list(callbacks),
        logger=list(loggers),
        log_every_n_steps=1,  # for values that callbacks log with Lightning's own `log`
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        **(_sharded(options, world) if sharded else _single(options)),
    )
    # On SIGTERM, Lightning's own handlers end the run with exit code 0 and without a checkpoint, after a collective
    # operation inside the handler, which can deadlock. StopWhenAsked handles signals instead.
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    return trainer


def _single(options: TrainerOptions) -> dict[str, Any]:
    return {"devices": 1, "precision": options.resolved_precision, "plugins": [StreamedFiles(), LightningEnvironment()]}


def _sharded(options: TrainerOptions, world: World) -> dict[str, Any]:
    return {
        "devices": world.devices,
        "num_nodes": world.nodes,
        "strategy": ShardedStrategy(world.size, "nccl" if options.accelerator == "gpu" else "gloo"),
        "precision": "32-true",  # precision of the master weights; FSDP2's own policy multiplies in half precision
        # torchrun's variables describe the processes, whoever sets them; without an environment Lightning guesses one
        "plugins": [TorchElasticEnvironment() if "WORLD_SIZE" in os.environ else LightningEnvironment()],
    }


def claim_directory(work_dir: Path, plan: dict[str, Any]) -> None:
    """Record in `fit.json` which run `work_dir` belongs to.

    Raises:
        UserError: It belongs to another run; the first differences are listed.
    """
    path = work_dir / PLAN
    plan = json.loads(json.dumps(plan))
    if not path.exists():
        write_json(path, plan)
        return
    found = json.loads(path.read_text(encoding="utf-8"))
    names = sorted({*found, *plan})
    differences = [
        f"{name} was {found.get(name)}, is now {plan.get(name)}" for name in names if found.get(name) != plan.get(name)
    ]
    if differences:
        raise UserError(
            first_differences(f"{work_dir} holds a different run; set another output= or remove it", differences)
        )


def trained_rows(work_dir: Path) -> dict[str, str]:
    """SHA-256 of the training rows of each task, tokens and masks, of the run that claimed `work_dir`."""
    return dict(json.loads((work_dir / PLAN).read_text(encoding="utf-8"))["data"])
