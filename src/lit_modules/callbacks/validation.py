"""Loss, perplexity and accuracy of each task on its validation rows.

We do not use Lightning's validation loop: its schedule counts fetched batches, which a restart shifts by one, but a
resumed run must validate at the same steps as an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning as L
import torch

from src.data.collate import Batch
from src.lit_modules.loggers import log_values
from src.lit_modules.metrics import TOGETHER
from src.lit_modules.sft import SupervisedFineTuning
from src.lit_modules.sharding import reshard

Losses = dict[str, float]


class TaskValidation(L.Callback):
    """Validate every N steps and after the last one, and log `val/<task>/loss`, `/perplexity` and `/accuracy`.

    Args:
        batches: This rank's micro-batches by task.
        every_steps: Steps between validations; None: only after the last step.
        chosen_by: The task whose loss decides which step is best; `all`: the loss over all tasks.
    """

    def __init__(self, batches: Mapping[str, list[Batch]], every_steps: int | None, chosen_by: str = TOGETHER) -> None:
        self.batches, self.every_steps, self.chosen_by = batches, every_steps, chosen_by
        self.history: dict[int, Losses] = {}

    def best_step(self) -> int | None:
        """The earliest step with the lowest loss."""
        return min(self.history, key=lambda step: (self.history[step][self.chosen_by], step), default=None)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Validate if it is due."""
        step = trainer.global_step
        if self.batches and (step == trainer.max_steps or (self.every_steps and step % self.every_steps == 0)):
            assert isinstance(pl_module, SupervisedFineTuning)
            values = self.measure(trainer, pl_module)
            self.history[step] = {task: values[f"{task}/loss"] for task in (*self.batches, TOGETHER)}
            log_values(trainer, {f"val/{name}": value for name, value in values.items()})

    @torch.no_grad()
    def measure(self, trainer: L.Trainer, module: SupervisedFineTuning) -> dict[str, float]:
        """Metrics of the current weights, over the rows of all ranks."""
        network, metrics = module.network, module.val_metrics.to(trainer.strategy.root_device)
        metrics.reset()
        network.eval()
        with trainer.precision_plugin.val_step_context():
            for task, batches in enumerate(self.batches.values()):
                for batch in batches:
                    module.validate_batch(trainer.strategy.batch_to_device(batch), task)
        network.train()
        reshard(network)
        return {name: float(value) for name, value in metrics.compute().items()}

    def state_dict(self) -> dict[str, Any]:
        """The losses so far."""
        return {"history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from the losses in a checkpoint."""
        self.history = state_dict["history"]
