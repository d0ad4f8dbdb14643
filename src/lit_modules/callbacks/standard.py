"""The callbacks of every training run, and the result they produce."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
from transformers import PreTrainedModel

from src.lit_modules.callbacks.checkpoint import ResumeCheckpoints
from src.lit_modules.callbacks.cost import Cost, CostMeter
from src.lit_modules.callbacks.early_stopping import StopWithoutProgress
from src.lit_modules.callbacks.interrupt import StopWhenAsked
from src.lit_modules.callbacks.record import LossRecord
from src.lit_modules.callbacks.timeouts import CollectiveTimeouts
from src.lit_modules.callbacks.validation import TaskValidation
from src.lit_modules.options import CheckpointOptions
from src.utils.errors import UserError
from src.utils.ranks import wait_for_all


@dataclass(frozen=True)
class FitResult:
    """Result of a training run; the weights are in the network that was passed in.

    Args:
        cost: Steps, tokens and seconds, restarts included.
        losses: Validation loss per answer token of each task, and over all of them as `all`; empty without validation.
        selected_step: The step whose weights the network holds.
        validation: Losses as above by step, of all validations.
        stopped_early: True if the run ended before its last step because the loss no longer fell.
    """

    cost: Cost
    losses: dict[str, float]
    selected_step: int
    validation: dict[str, dict[str, float]]
    stopped_early: bool


class StandardCallbacks:
    """Cost, losses, validation and checkpoints of a run: all that its result and a restart need.

    Args:
        validation: Validates and determines the best step.
        checkpoints: When to save, and which weights to return.
        directory: Directory of the checkpoints.
    """

    def __init__(self, validation: TaskValidation, checkpoints: CheckpointOptions, directory: Path) -> None:
        self.meter, self.validation = CostMeter(), validation
        patience = checkpoints.patience
        self.stopping = None if patience is None else StopWithoutProgress(validation, patience, checkpoints.min_delta)
        self.saver = ResumeCheckpoints(directory, checkpoints, validation.best_step)

    def in_order(self, others: Sequence[L.Callback]) -> list[L.Callback]:
        """All callbacks in order: a step is timed, recorded, validated and measured before it is saved."""
        saving = [CollectiveTimeouts(), self.saver, StopWhenAsked(self.saver)]
        stopping = [] if self.stopping is None else [self.stopping]
        return [self.meter, LossRecord(), self.validation, *stopping, *others, *saving, self.meter.start_clock()]

    def result(self, network: PreTrainedModel) -> FitResult:
        """Leave the requested weights in the network, ready to be exported."""
        selected = self.saver.load_selected(network, self.meter.cost.steps)
        network.eval()
        wait_for_all()
        history = {str(step): losses for step, losses in sorted(self.validation.history.items())}
        stopped = self.stopping is not None and self.stopping.has_stopped
        return FitResult(self.meter.cost, self.validation.history.get(selected, {}), selected, history, stopped)


def as_callbacks(nodes: Mapping[str, Any]) -> list[L.Callback]:
    """The objects that conf/callbacks has built.

    Raises:
        UserError: One of them is not a Lightning callback.
    """
    for name, found in nodes.items():
        if not isinstance(found, L.Callback):
            raise UserError(
                f"callbacks.{name}: expected a lightning.pytorch.Callback, got {type(found).__module__}."
                f"{type(found).__qualname__}"
            )
    return list(nodes.values())
