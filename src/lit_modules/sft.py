"""Supervised fine-tuning: one batch is one optimizer step, its loss a mean over all answer tokens of all micro-batches.

P predicted tokens of a micro-batch, K tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from src.data.collate import Batch
from src.lit_modules.loss import token_losses
from src.lit_modules.optimizers import build_optimizer, build_schedule
from src.lit_modules.options import OptimizerOptions
from src.utils.errors import Stopped


class SupervisedFineTuning(L.LightningModule):
    """Trains a causal language model on answers.

    Args:
        network: The model; its weights are trained in place, in their own dtype.
        optimizer: AdamW and schedule settings.
        total_steps: Optimizer steps of the whole run, which the schedule needs.
        tasks: Names of the tasks, in the order of their numbers in batches.
        row_names: Gives the names of the rows of a step, for the message where a loss is not a number.
        kept: Gives the newest checkpoint, for the same message.
        shard: Divides the network over the ranks of a mesh; None: there is one rank.
    """

    def __init__(
        self,
        network: PreTrainedModel,
        optimizer: OptimizerOptions,
        total_steps: int,
        tasks: Sequence[str],
        row_names: Callable[[int], list[str]],
        kept: Callable[[], Path | None] = lambda: None,
        shard: Callable[[PreTrainedModel, Any], None] | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network = network
        self.options = optimizer
        self.total_steps = total_steps
        self.tasks = tuple(tasks)
        self.row_names, self.kept = row_names, kept
        self.shard = shard
        # one process may keep the adapters alone; shards are only read whole
        self.strict_loading = shard is not None or all(p.requires_grad for p in network.parameters())

    def configure_model(self) -> None:
        """Divides the network over the ranks, once the processes know each other."""
        if self.shard is not None:
            self.shard(self.network, self.device_mesh["data_parallel"])  # type: ignore[index]
            self.shard = None

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """One optimizer step over the micro-batches of this rank."""
        optimizer, schedule = self.optimizers(), self.lr_schedulers()
        assert not isinstance(optimizer, list)
        rate = optimizer.param_groups[0]["lr"]
        scale = self.trainer.world_size / batch["answer_tokens"]  # gradients are averaged over ranks
        sums = torch.zeros(len(self.tasks), device=self.device)
        for micro in batch["micro"]:
            losses = token_losses(self.network, micro)  # P
            self.manual_backward(losses.sum() * scale)
            sums.index_add_(0, micro["tasks"], losses.detach())
        norm = self._clipped_norm()
        sums = self.trainer.strategy.reduce(sums, reduce_op="sum")
        loss = sums.sum() / batch["answer_tokens"]
        self._refuse_nan(loss, norm)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()  # type: ignore[union-attr]
        return {"loss": loss, **self._by_task(sums, batch["task_tokens"]), "gradient_norm": norm, "lr": rate}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leaves frozen weights out: they are those of the base."""
        if not self.strict_loading:
            trained = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
            checkpoint["state_dict"] = {name: checkpoint["state_dict"][name] for name in sorted(trained)}

    def configure_optimizers(self) -> Any:
        """AdamW and its schedule, stepped by hand."""
        optimizer = build_optimizer(self.network.parameters(), self.options)
        schedule = build_schedule(optimizer, self.total_steps, self.options.warmup)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _by_task(self, sums: torch.Tensor, counts: Sequence[int]) -> dict[str, torch.Tensor]:
        """`loss_<task>` of the tasks that are in the batch, where there are several."""
        if len(self.tasks) < 2:
            return {}
        together = zip(self.tasks, sums, counts, strict=True)
        return {f"loss_{task}": total / count for task, total, count in together if count}

    def _clipped_norm(self) -> torch.Tensor:
        limit = self.options.clip_norm or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), limit)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    def _refuse_nan(self, loss: torch.Tensor, norm: torch.Tensor) -> None:
        if torch.isfinite(loss) and torch.isfinite(norm):
            return
        step, kept = self.trainer.global_step, self.kept()
        saved = "no checkpoint had been saved yet" if kept is None else f"the last checkpoint is kept, {kept}"
        raise Stopped(
            f"the loss is {float(loss)} and the gradient norm {float(norm)} at step {step + 1}; {saved}. Lower "
            f"strategy.learning_rate or check the rows of the batch: {', '.join(self.row_names(step))}"
        )
