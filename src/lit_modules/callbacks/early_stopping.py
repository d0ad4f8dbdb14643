"""Stop a run once its validation loss no longer falls."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping

from src.lit_modules.callbacks.validation import TaskValidation
from src.utils.progress import say


class StopWithoutProgress(EarlyStopping):
    """Lightning's early stopping on the losses of `TaskValidation`; a run that has stopped stays stopped if resumed.

    Args:
        validation: Measures the loss, that of the trained task or of all tasks of a mixture.
        patience: Number of validations in a row without a lower loss after which the run stops.
        min_delta: A loss is lower only if it is below the lowest one by more than this.
    """

    def __init__(self, validation: TaskValidation, patience: int, min_delta: float = 0.0) -> None:
        super().__init__(
            f"val/{validation.chosen_by}/loss", min_delta=min_delta, patience=patience, check_on_train_epoch_end=False
        )
        self.validation = validation

    @property
    def has_stopped(self) -> bool:
        """True once patience has run out."""
        return self.wait_count >= self.patience

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop before the first step if the checkpoint is that of a run that has stopped."""
        trainer.should_stop = trainer.should_stop or self.has_stopped

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Judge the loss of this step, if it was validated; Lightning's own validation loop is not used."""
        losses = self.validation.history.get(trainer.global_step)
        if losses is None:
            return
        trainer.callback_metrics[self.monitor] = torch.tensor(losses[self.validation.chosen_by])
        self.on_validation_end(trainer, pl_module)
        if self.has_stopped:
            say(
                f"stopped early after step {trainer.global_step} of {trainer.max_steps}: {self.monitor} has not fallen "
                f"below {float(self.best_score):.4f} in {self.wait_count} validations"
            )
