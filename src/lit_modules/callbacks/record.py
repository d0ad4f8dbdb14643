"""Pass the losses of training steps to the loggers."""

from __future__ import annotations

from typing import Any

import lightning as L

from src.data.collate import Batch
from src.lit_modules.loggers import RecordLogger, log_values


class LossRecord(L.Callback):
    """Log what each training step returns as `train/<name>`, and keep the record consistent over restarts."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Rewind the record to the step from which training resumes."""
        for logger in trainer.loggers:
            if isinstance(logger, RecordLogger):
                logger.rewind(trainer.global_step)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Log the loss and perplexity of all tokens and of each task, the learning rate and the gradient norm."""
        log_values(trainer, {f"train/{name}": float(value) for name, value in outputs.items()})
