"""The callbacks that every training run has, and what they know once it is over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import lightning as L
from transformers import PreTrainedModel

from src.data.collate import Batch
from src.lit_modules.callbacks.checkpoint import ResumeCheckpoints
from src.lit_modules.callbacks.interrupt import StopWhenAsked
from src.lit_modules.callbacks.progress import StepBar
from src.lit_modules.callbacks.record import LossRecord
from src.lit_modules.callbacks.throughput import Cost, Throughput
from src.lit_modules.callbacks.validation import TaskValidation
from src.lit_modules.options import CheckpointOptions
from src.utils.ranks import wait_for_all


@dataclass(frozen=True)
class FitResult:
    """What a training run did; the network it was given holds the weights.

    Args:
        cost: Steps, tokens and seconds, restarts included.
        losses: Validation loss by answer token of each task, and over all of them as `all`; empty without validation.
        selected_step: The step whose weights the network holds.
    """

    cost: Cost
    losses: dict[str, float]
    selected_step: int


class StandardCallbacks:
    """Rates, losses, validation and checkpoints of a run.

    Args:
        record: Writes the rows.
        held_out: This rank's validation micro-batches by task.
        checkpoints: When to validate and save, and which weights to return.
        directory: Where checkpoints lie.
        chosen_by: The validation loss that decides which step is best: `all`, or the one task that is trained on.
    """

    def __init__(
        self,
        record: LossRecord,
        held_out: Mapping[str, list[Batch]],
        checkpoints: CheckpointOptions,
        directory: Path,
        chosen_by: str = "all",
    ) -> None:
        self.throughput: Throughput = record.throughput
        self.record = record
        self.validation = TaskValidation(held_out, checkpoints.validate_every, record.validation, chosen_by)
        self.saver = ResumeCheckpoints(directory, checkpoints, self.validation.best_step)

    def in_order(self, watchers: Sequence[L.Callback], description: str) -> list[L.Callback]:
        """All callbacks: a step is timed, written down, validated and watched before it is saved."""
        measuring = [self.throughput, self.record, self.validation, *watchers]
        saving = [self.saver, StopWhenAsked(self.saver)]
        return [*measuring, StepBar(description), *saving, self.throughput.start_clock()]

    def result(self, network: PreTrainedModel, last_step: int) -> FitResult:
        """Leave the weights that were asked for in the network, ready to be exported."""
        selected = self.saver.load_selected(network, last_step)
        network.eval()
        wait_for_all()
        return FitResult(self.throughput.cost, self.validation.history.get(selected, {}), selected)
