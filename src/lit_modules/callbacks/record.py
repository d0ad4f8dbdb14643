"""Pass the losses of training steps to the loggers."""

from __future__ import annotations

from typing import Any

import lightning as L

from src.data.collate import Batch
from src.lit_modules.loggers import RecordLogger, TrackerLogger, log_values


class LossRecord(L.Callback):
    """Log what each training step returns as `train/<name>`, and keep the record consistent over restarts."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Rewind the record to the step from which training resumes; trackers without its rows get them again."""
        records = [logger for logger in trainer.loggers if isinstance(logger, RecordLogger)]
        for record in records:
            record.rewind(trainer.global_step)
            for logger in trainer.loggers:
                if isinstance(logger, TrackerLogger):
                    logger.repeat(record.path)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Log the loss and perplexity of all tokens and of each task, the learning rate and the gradient norm."""
        log_values(trainer, {f"train/{name}": float(value) for name, value in outputs.items()})
