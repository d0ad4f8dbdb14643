"""Validation loss of each task.

Not Lightning's validation loop: its schedule counts batches that were fetched, which a restart shifts by one, and a
resumed run must validate at the steps of one that never stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import lightning as L
import torch
from torch.distributed.fsdp import FSDPModule
from transformers import PreTrainedModel

from src.data.collate import Batch
from src.lit_modules.loss import token_losses

Losses = dict[str, float]


class TaskValidation(L.Callback):
    """Measures the mean loss by answer token every N steps and after the last.

    Args:
        batches: This rank's micro-batches by task.
        every_steps: Steps between validations; None: only after the last step.
        write: Called with the step and its losses, by task and over all tasks under the name `all`.
        chosen_by: The loss that decides which step is best: `all`, or the one task that is trained on.
    """

    def __init__(
        self,
        batches: Mapping[str, list[Batch]],
        every_steps: int | None,
        write: Callable[[L.Trainer, Losses], None],
        chosen_by: str = "all",
    ) -> None:
        self.batches, self.every_steps, self.write, self.chosen_by = batches, every_steps, write, chosen_by
        self.history: dict[int, Losses] = {}

    def best_step(self) -> int | None:
        """The earliest step with the lowest loss."""
        return min(self.history, key=lambda step: (self.history[step][self.chosen_by], step), default=None)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Measures where it is due."""
        step = trainer.global_step
        if self.batches and (step == trainer.max_steps or (self.every_steps and step % self.every_steps == 0)):
            self.history[step] = self.measure(trainer, pl_module.network)  # type: ignore[arg-type]
            self.write(trainer, self.history[step])

    @torch.no_grad()
    def measure(self, trainer: L.Trainer, network: PreTrainedModel) -> Losses:
        """Losses of the weights as they are, over the rows of all ranks."""
        sums = torch.zeros(len(self.batches), 2, dtype=torch.float64, device=trainer.strategy.root_device)
        network.eval()
        with trainer.precision_plugin.val_step_context():
            for line, batches in zip(sums, self.batches.values(), strict=True):
                for batch in batches:
                    there = trainer.strategy.batch_to_device(batch)
                    line[0] += token_losses(network, there).double().sum()
                    line[1] += len(there["targets"])
        network.train()
        if isinstance(network, FSDPModule):
            network.reshard()  # a forward pass without a backward one leaves what is around the layers whole
        total = trainer.strategy.reduce(sums, reduce_op="sum")
        losses = {task: float(loss / count) for task, (loss, count) in zip(self.batches, total, strict=True)}
        return {**losses, "all": float(total[:, 0].sum() / total[:, 1].sum())}

    def state_dict(self) -> dict[str, Any]:
        """The losses so far."""
        return {"history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from the losses of a checkpoint."""
        self.history = state_dict["history"]
