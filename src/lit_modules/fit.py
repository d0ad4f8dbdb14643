"""Fine-tune a model on tokenized rows: the one function that the training stage calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import Logger
from transformers import PreTrainedModel

from src.checkpoints import Checkpoint
from src.data.batches import Layout, StepBatches
from src.data.budget import step_starts
from src.data.mixture import Mixture, rows_per_epoch
from src.data.table import TokenTable
from src.lit_modules.callbacks.standard import FitResult, StandardCallbacks
from src.lit_modules.callbacks.validation import TaskValidation
from src.lit_modules.datamodule import TokenDataModule, TrainingRows
from src.lit_modules.disk import checkpoint_bytes, require_space
from src.lit_modules.loggers import RecordLogger
from src.lit_modules.metrics import TOGETHER
from src.lit_modules.options import FitOptions
from src.lit_modules.sft import SupervisedFineTuning
from src.lit_modules.sharding import shard_network
from src.lit_modules.trainer import build_trainer, claim_directory, enough_memory, interruptible, quiet
from src.lit_modules.world import World, resolve_world
from src.utils.ranks import is_main_process, rank
from src.utils.threads import threads_for

__all__ = ["METRICS", "FitResult", "fit"]

METRICS = "metrics.jsonl"
LINES = {"sdpa", "eager", "flex_attention"}  # backends that take packs as masked lines, not as one long line


def fit(
    network: PreTrainedModel,
    rows: TrainingRows,
    options: FitOptions,
    work_dir: Path,
    *,
    base: Checkpoint | None = None,
    callbacks: Sequence[L.Callback] = (),
    loggers: Sequence[Logger] = (),
) -> FitResult:
    """Train `network` in place on the answers of `rows.train`.

    After a kill at any moment, the same call resumes from the last checkpoint in `work_dir` and ends with the same
    losses and weights as an uninterrupted run; with a different number of ranks, equal up to rounding.

    Args:
        network: Holds the base weights in float32; on several ranks it may be on the meta device.
        rows: Rows by task.
        options: Settings of the run.
        work_dir: Gets `checkpoints/`, `metrics.jsonl` and `fit.json`.
        base: Checkpoint of the base weights; it fills a network on the meta device, and callbacks compare with it.
        callbacks: They find the rows as `trainer.datamodule` and the base as `pl_module.base`.
        loggers: Trackers that mirror `metrics.jsonl`.

    Returns:
        Cost, validation losses, and the step whose weights the network holds.

    Raises:
        UserError: `work_dir` holds another run, GPUs are missing or too small, or the loss is NaN or Inf.
        Interrupted: The process was asked to stop; the current step is saved.
    """
    world = resolve_world(options.trainer)
    steps = _steps(network, rows, options, world)
    if is_main_process():
        claim_directory(work_dir, _plan(options, rows.train))
        each = checkpoint_bytes(network, options.optimizer.kind, world.size > 1)
        require_space(work_dir / "checkpoints", each, options.checkpoints.keep)
    datamodule = TokenDataModule(rows, steps)
    run = _standard_callbacks(datamodule, options, work_dir)
    recorded = [RecordLogger(work_dir / METRICS), *loggers]
    _train(network, datamodule, options, run, base, world, run.in_order(callbacks), recorded)
    return run.result(network)


def _train(
    network: PreTrainedModel,
    datamodule: TokenDataModule,
    options: FitOptions,
    run: StandardCallbacks,
    base: Checkpoint | None,
    world: World,
    callbacks: Sequence[L.Callback],
    loggers: Sequence[Logger],
) -> None:
    newest = run.saver.newest()
    # only a sharded network can read shards back, even on one rank
    sharded = world.size > 1 or (newest is not None and newest.is_dir())
    module = _module(network, datamodule, options, run, base, sharded)
    network.train()
    parameters = sum(parameter.numel() for parameter in network.parameters())
    with quiet(), interruptible(), enough_memory(run.saver.directory), threads_for(parameters):
        L.seed_everything(options.seed, verbose=False)
        trainer = build_trainer(options.trainer, world, sharded, len(datamodule.steps), callbacks, loggers)
        trainer.fit(module, datamodule=datamodule, ckpt_path=newest, weights_only=True)


def _steps(network: PreTrainedModel, rows: TrainingRows, options: FitOptions, world: World) -> StepBatches:
    """All steps of the run, as this rank sees them."""
    mixture = Mixture(rows.train, options.seed, rows_per_epoch(rows.train, options.mix))
    batches = options.batches
    flat = network.config._attn_implementation not in LINES
    layout = Layout(batches.micro_batch, batches.packing, batches.max_length, flat, world.size, rank())
    return StepBatches(mixture, step_starts(mixture, batches.budget), layout, rows.pad_token)


def _standard_callbacks(datamodule: TokenDataModule, options: FitOptions, work_dir: Path) -> StandardCallbacks:
    held_out = datamodule.micro_batches(datamodule.rows.validation)
    tasks = datamodule.steps.mixture.tasks
    chosen_by = tasks[0] if len(tasks) == 1 and tasks[0] in held_out else TOGETHER
    validation = TaskValidation(held_out, options.checkpoints.validate_every, chosen_by)
    return StandardCallbacks(validation, options.checkpoints, work_dir / "checkpoints")


def _module(
    network: PreTrainedModel,
    datamodule: TokenDataModule,
    options: FitOptions,
    run: StandardCallbacks,
    base: Checkpoint | None,
    sharded: bool,
) -> SupervisedFineTuning:
    is_empty = any(parameter.is_meta for parameter in network.parameters())
    world = resolve_world(options.trainer)
    shard = partial(
        shard_network,
        half=options.trainer.half,
        weights=base if is_empty else None,
        seed=options.seed,
        copies=world.nodes if options.trainer.mesh == "hybrid" else 1,
    )
    return SupervisedFineTuning(
        network,
        options.optimizer,
        datamodule.steps,
        held_out=list(datamodule.rows.validation),
        product_dtype=torch.bfloat16 if options.trainer.half else torch.float32,
        base=base,
        newest=run.saver.newest,
        shard=shard if sharded else None,
        reduce_last=options.trainer.reduce == "last",
    )


def _plan(options: FitOptions, train: Mapping[str, TokenTable]) -> dict[str, Any]:
    """The settings that determine the result, without the division of a step over ranks and micro-batches."""
    checkpoints = options.checkpoints
    return {
        "optimizer": asdict(options.optimizer),
        "budget": asdict(options.batches.budget),
        "mix": asdict(options.mix),
        "precision": options.trainer.resolved_precision,
        "validate_every": checkpoints.validate_every if checkpoints.select == "best" else None,
        "select": checkpoints.select,
        "patience": [checkpoints.patience, checkpoints.min_delta],
        "seed": options.seed,
        "data": {task: table.fingerprint() for task, table in train.items()},
    }
