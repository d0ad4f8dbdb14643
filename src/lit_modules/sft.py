"""Supervised fine-tuning: one batch is one optimiser step, its loss a mean over all answer tokens of all micro-batches.

B rows of a micro-batch, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from transformers import PreTrainedModel

from src.data.batches import Batch
from src.data.table import IGNORED
from src.lit_modules.optimizers import build_optimizer, build_schedule
from src.lit_modules.options import OptimizerOptions
from src.utils.errors import UserError


def summed_loss(network: torch.nn.Module, input_ids: torch.Tensor, labels: torch.Tensor, first: int) -> torch.Tensor:
    """Cross-entropy summed over the answer tokens of a micro-batch, in float32.

    Args:
        network: A causal language model of transformers.
        input_ids: Token ids, padded on the right (B, T).
        labels: The same ids, -100 where there is no loss (B, T).
        first: Earliest position with a label, at least 1: the vocabulary is projected only from the one before it.

    Returns:
        A scalar.
    """
    width = input_ids.shape[1]
    first = min(first, width - 1)
    logits = network(input_ids=input_ids, use_cache=False, logits_to_keep=width - first + 1).logits  # B, T-first+1, V
    return F.cross_entropy(
        logits[:, :-1].flatten(0, 1).float(), labels[:, first:].flatten(), ignore_index=IGNORED, reduction="sum"
    )


class SupervisedFineTuning(L.LightningModule):
    """Trains a causal language model on answers.

    Args:
        network: The model; its weights are trained in place, in their own dtype.
        optimizer: AdamW and schedule settings.
        total_steps: Optimiser steps of the whole run, which the schedule needs.
        row_names: Gives the names of the rows of a step, for the message where a loss is not a number.
    """

    def __init__(
        self,
        network: PreTrainedModel,
        optimizer: OptimizerOptions,
        total_steps: int,
        row_names: Callable[[int], list[str]],
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network = network
        self.options = optimizer
        self.total_steps = total_steps
        self.row_names = row_names

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """One optimiser step over the micro-batches of this rank."""
        optimizer, schedule = self.optimizers(), self.lr_schedulers()
        assert not isinstance(optimizer, list)
        rate = optimizer.param_groups[0]["lr"]
        scale = self.trainer.world_size / batch["answer_tokens"]  # gradients are averaged over ranks
        loss = torch.zeros((), device=self.device)
        for micro in batch["micro"]:
            part = summed_loss(self.network, **micro) * scale
            self.manual_backward(part)
            loss += part.detach()
        norm = self._clipped_norm()
        self._refuse_nan(loss, norm)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()  # type: ignore[union-attr]
        return {"loss": loss, "gradient_norm": norm, "lr": rate}

    def configure_optimizers(self) -> Any:
        """AdamW and its schedule, stepped by hand."""
        optimizer = build_optimizer(self.network.parameters(), self.options)
        schedule = build_schedule(optimizer, self.total_steps, self.options.warmup)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _clipped_norm(self) -> torch.Tensor:
        limit = self.options.clip_norm or float("inf")
        return torch.nn.utils.clip_grad_norm_(self.network.parameters(), limit)

    def _refuse_nan(self, loss: torch.Tensor, norm: torch.Tensor) -> None:
        if torch.isfinite(loss) and torch.isfinite(norm):
            return
        step = self.trainer.global_step
        raise UserError(
            f"the loss is {float(loss)} and the gradient norm {float(norm)} at step {step + 1}; the last checkpoint "
            f"is kept. Rows of the batch: {', '.join(self.row_names(step))}. Lower optimizer.lr or check these rows"
        )
