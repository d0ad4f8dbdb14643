"""Fine-tune a model on tokenized rows: the one function that the training stage calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from transformers import PreTrainedModel

from src.data.batches import Layout, StepBatches, validation_batches
from src.data.budget import step_starts
from src.data.collate import Batch
from src.data.mixture import MixOptions, Mixture, rows_per_epoch
from src.data.table import TokenTable
from src.lit_modules.callbacks.record import LossRecord
from src.lit_modules.callbacks.standard import FitResult, StandardCallbacks
from src.lit_modules.callbacks.throughput import Throughput
from src.lit_modules.datamodule import TokenDataModule
from src.lit_modules.flops import StepFlops, measured_peak
from src.lit_modules.options import BatchOptions, CheckpointOptions, OptimizerOptions, TrainerOptions
from src.lit_modules.sft import SupervisedFineTuning
from src.lit_modules.sharding import FlatWeights, shard_network
from src.lit_modules.trainer import build_trainer, claim_directory, enough_memory, interruptible, quiet
from src.lit_modules.watch import Watched
from src.lit_modules.world import resolve_world
from src.utils.ranks import is_main_process, rank

__all__ = ["FitResult", "fit"]

LINES = {"sdpa", "eager", "flex_attention"}  # backends that see packs as lines with a mask, not as one long line


def fit(
    network: PreTrainedModel,
    train: Mapping[str, TokenTable],
    validation: Mapping[str, TokenTable],
    *,
    pad_token: int,
    work_dir: Path,
    optimizer: OptimizerOptions,
    batches: BatchOptions,
    mix: MixOptions = MixOptions(),  # noqa: B008 - frozen
    trainer: TrainerOptions = TrainerOptions(),  # noqa: B008 - frozen
    checkpoints: CheckpointOptions = CheckpointOptions(),  # noqa: B008 - frozen
    weights: FlatWeights | None = None,
    seed: int = 0,
    watch: Watched = Watched(),  # noqa: B008 - frozen
    on_record: Callable[[dict[str, Any]], None] | None = None,
    description: str = "train",
) -> FitResult:
    """Train `network` in place on the answers of `train`.

    The same call with the same `work_dir`, after a kill at any moment, goes on where the last checkpoint was and ends
    with the same losses and weights as if it had never stopped; on another number of ranks, equal to rounding.

    Args:
        network: Holds the base weights, in the type to train in (float32); on several ranks it may be on the meta
            device, and is divided over them.
        train: Rows by task.
        validation: Rows by task; may be empty.
        pad_token: Id written where a line is over.
        work_dir: Gets `checkpoints/`, `metrics.jsonl` and `fit.json`; of no use once the run is over.
        optimizer: AdamW and its schedule.
        batches: Sizes, lengths, and how long to train.
        mix: Proportions of the tasks.
        trainer: Devices and precision.
        checkpoints: When to validate and save, and which weights to return.
        weights: Fills a network that is on the meta device.
        seed: Seed of the order of rows and of dropout.
        watch: What else is measured.
        on_record: Called with each row of `metrics.jsonl` as it is written, on the first rank.
        description: Stands beside the progress bar.

    Returns:
        Cost, validation losses, and the step whose weights the network holds.

    Raises:
        UserError: `work_dir` holds another run, the GPUs asked for are not there or too small, or the loss is not a
            number.
        Interrupted: The process was asked to end; the step that it was at is saved.
    """
    world = resolve_world(trainer)
    mixture = Mixture(train, seed, rows_per_epoch(train, mix))
    starts = step_starts(mixture, batches.budget)
    if is_main_process():
        claim_directory(work_dir, _plan(optimizer, batches, mix, trainer, checkpoints, train, seed))
    flat = network.config._attn_implementation not in LINES
    layout = Layout(batches.micro_batch, batches.packing, batches.max_length, flat, world.size, rank())
    steps = StepBatches(mixture, starts, layout, pad_token)
    record = LossRecord(work_dir / "metrics.jsonl", Throughput(*_flops(network, trainer)), on_record)
    held_out = _held_out(validation, layout, pad_token)
    own = mixture.tasks[0] if len(mixture.tasks) == 1 and mixture.tasks[0] in held_out else "all"
    run = StandardCallbacks(record, held_out, checkpoints, work_dir / "checkpoints", own)
    newest = run.saver.newest()
    sharded = world.size > 1 or (newest is not None and newest.is_dir())
    shard = partial(shard_network, half=trainer.half, weights=weights) if sharded else None
    module = SupervisedFineTuning(
        network, optimizer, len(steps), mixture.tasks, steps.row_names, run.saver.newest, shard
    )
    network.train()
    with quiet(), interruptible(), enough_memory(run.saver.directory):
        L.seed_everything(seed, verbose=False)
        callbacks = run.in_order(watch.callbacks(train, layout, pad_token, record.write), description)
        build_trainer(trainer, world, sharded, len(steps), callbacks).fit(
            module, datamodule=TokenDataModule(steps), ckpt_path=newest, weights_only=True
        )
    return run.result(network, len(steps))


def _held_out(tables: Mapping[str, TokenTable], layout: Layout, pad_token: int) -> dict[str, list[Batch]]:
    return {
        task: validation_batches(table, layout, pad_token, number)
        for number, (task, table) in enumerate(tables.items())
    }


def _plan(
    optimizer: OptimizerOptions,
    batches: BatchOptions,
    mix: MixOptions,
    trainer: TrainerOptions,
    checkpoints: CheckpointOptions,
    train: Mapping[str, TokenTable],
    seed: int,
) -> dict[str, Any]:
    """What decides the result: not how a step is divided over ranks and micro-batches."""
    return {
        "optimizer": asdict(optimizer),
        "budget": asdict(batches.budget),
        "mix": asdict(mix),
        "precision": trainer.resolved_precision,
        "validate_every": checkpoints.validate_every if checkpoints.select == "best" else None,
        "select": checkpoints.select,
        "seed": seed,
        "data": {task: table.fingerprint() for task, table in train.items()},
    }


def _flops(network: PreTrainedModel, trainer: TrainerOptions) -> tuple[StepFlops | None, float | None]:
    if trainer.accelerator != "gpu":
        return None, None
    return StepFlops.of(network), measured_peak(torch.bfloat16 if trainer.half else torch.float32)
