"""Fine-tune a model on examples: the one function that the training stage calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning as L
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from src.data.batches import BatchShape, StepBatches, validation_batches
from src.data.examples import Example
from src.data.mixture import Mixture
from src.data.table import TokenTable
from src.data.tokenise import LengthReport, tokenise
from src.lit_modules.callbacks.checkpoint import ResumeCheckpoints
from src.lit_modules.callbacks.progress import StepBar
from src.lit_modules.callbacks.record import LossRecord
from src.lit_modules.callbacks.throughput import Cost, Throughput
from src.lit_modules.callbacks.validation import TaskValidation
from src.lit_modules.datamodule import TokenDataModule
from src.lit_modules.options import BatchOptions, CheckpointOptions, OptimizerOptions, TrainerOptions
from src.lit_modules.sft import SupervisedFineTuning
from src.lit_modules.trainer import build_trainer, claim_directory, quiet

Tables = dict[str, TokenTable]


@dataclass(frozen=True)
class FitResult:
    """What a training run did; the network it was given holds the weights.

    Args:
        cost: Steps, tokens and seconds, restarts included.
        losses: Validation loss by answer token of each task, and over all of them as `all`; empty without validation.
        selected_step: The step whose weights the network holds.
        lengths: What `max_length` did to the training rows of each task.
    """

    cost: Cost
    losses: dict[str, float]
    selected_step: int
    lengths: dict[str, LengthReport]


def fit(
    network: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    train: Mapping[str, Sequence[Example]],
    validation: Mapping[str, Sequence[Example]],
    *,
    work_dir: Path,
    optimizer: OptimizerOptions,
    batches: BatchOptions,
    trainer: TrainerOptions = TrainerOptions(),  # noqa: B008 - frozen
    checkpoints: CheckpointOptions = CheckpointOptions(),  # noqa: B008 - frozen
    validate_every: int | None = None,
    seed: int = 0,
    callbacks: Sequence[L.Callback] = (),
    on_record: Callable[[dict[str, Any]], None] | None = None,
    description: str = "train",
) -> FitResult:
    """Train `network` in place on the answers of `train`.

    The same call with the same `work_dir`, after a kill at any moment, goes on where the last checkpoint was and ends
    with the same losses and weights as if it had never stopped.

    Args:
        network: Holds the base weights, in the type to train in (float32).
        tokenizer: With a chat template, unless all rows are raw documents.
        train: Rows by task; several tasks are concatenated.
        validation: Rows by task; may be empty.
        work_dir: Gets `checkpoints/`, `metrics.jsonl` and `fit.json`; of no use once the run is over.
        optimizer: AdamW and its schedule.
        batches: Sizes, lengths, and how long to train.
        trainer: Device and precision.
        checkpoints: When to save, and which weights to return.
        validate_every: Steps between validations; None: only after the last step.
        seed: Seed of the order of rows and of dropout.
        callbacks: More Lightning callbacks.
        on_record: Called with each row of `metrics.jsonl` as it is written.
        description: Stands beside the progress bar.

    Returns:
        Cost, validation losses, and the step whose weights the network holds.

    Raises:
        UserError: `work_dir` holds another run, a task has no rows, or the loss is not a number.
    """
    tables, lengths = _tables(train, tokenizer, batches)
    held_out, _ = _tables(validation, tokenizer, batches)
    settings = {"optimizer": asdict(optimizer), "batches": asdict(batches), "trainer": asdict(trainer), "seed": seed}
    data_hashes = {task: table.fingerprint() for task, table in tables.items()}
    claim_directory(work_dir, {**settings, "validate_every": validate_every, "data": data_hashes})
    shape = BatchShape(batches.micro_batch, batches.accumulation)
    pad_token = int(tokenizer.pad_token_id or 0)  # never attended to, nor a target
    steps = StepBatches(Mixture(tables, seed), shape, batches.steps, batches.epochs, pad_token)
    module = SupervisedFineTuning(network, optimizer, len(steps), steps.row_names)
    throughput = Throughput()
    record = LossRecord(work_dir / "metrics.jsonl", throughput, on_record)
    held_batches = {task: validation_batches(table, shape, pad_token) for task, table in held_out.items()}
    measured = TaskValidation(held_batches, validate_every, record.validation)
    saver = ResumeCheckpoints(work_dir / "checkpoints", checkpoints, measured.best_step)
    network.train()
    with quiet():
        L.seed_everything(seed, verbose=False)
        hooks = [throughput, record, measured, *callbacks, StepBar(description), saver]
        build_trainer(trainer, len(steps), hooks).fit(
            module, datamodule=TokenDataModule(steps), ckpt_path=saver.newest(), weights_only=True
        )
    selected = saver.load_selected(network, len(steps))
    network.eval()
    return FitResult(throughput.cost, measured.history.get(selected, {}), selected, lengths)


def _tables(
    examples: Mapping[str, Sequence[Example]], tokenizer: PreTrainedTokenizerBase, batches: BatchOptions
) -> tuple[Tables, dict[str, LengthReport]]:
    pairs = {
        task: tokenise(rows, tokenizer, batches.max_length, batches.over_length) for task, rows in examples.items()
    }
    return {task: table for task, (table, _) in pairs.items()}, {task: report for task, (_, report) in pairs.items()}
