"""The progress bar of a training run (conf/callbacks/progress_bar.yaml)."""

from __future__ import annotations

from typing import Any

import lightning as L

from src.utils.progress import progress_bar


class StepBar(L.Callback):
    """Show the number of finished steps, the time left and the latest loss on stderr.

    Args:
        description: Text next to the bar; null in a config: the name of the run.
    """

    def __init__(self, description: str) -> None:
        self.description = description
        self._bar = progress_bar()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the bar."""
        self._bar.start()
        self._task = self._bar.add_task(self.description, total=trainer.max_steps, completed=trainer.global_step)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance the bar."""
        description = f"{self.description} (loss {float(outputs['loss']):.3f})"
        self._bar.update(self._task, completed=trainer.global_step, description=description)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Remove the bar, also after an error."""
        self._bar.stop()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Remove the bar before the error is shown."""
        self._bar.stop()
