"""Supervised fine-tuning: one batch is one optimizer step, its loss a mean over all answer tokens of all micro-batches.

P predicted tokens of a micro-batch, K tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from src.checkpoints import Checkpoint
from src.data.batches import StepBatches
from src.data.collate import Batch
from src.lit_modules.loss import token_losses, token_losses_and_hits
from src.lit_modules.metrics import TaskMetrics
from src.lit_modules.optimizers import build_optimizer, build_schedule
from src.lit_modules.options import OptimizerOptions
from src.utils.errors import Stopped


class SupervisedFineTuning(L.LightningModule):
    """Train a causal language model on answers.

    For callbacks, `base` is the checkpoint that training started from, and `val_metrics` holds the metrics of the last
    validation.

    Args:
        network: The model; its weights are trained in place, in their own dtype.
        optimizer: AdamW and schedule settings.
        steps: All steps of the run: the schedule needs their number.
        held_out: Names of the tasks with validation rows.
        product_dtype: Type in which matrices are multiplied.
        base: The checkpoint that the weights come from; None: unknown.
        newest: Returns the newest checkpoint, for the message if a loss is NaN.
        shard: Shards the network over the ranks of a mesh; None: there is only one rank.
        reduce_last: Sum gradients over the ranks only after the last micro-batch of a step.
    """

    def __init__(
        self,
        network: PreTrainedModel,
        optimizer: OptimizerOptions,
        steps: StepBatches,
        held_out: Sequence[str] = (),
        product_dtype: torch.dtype = torch.float32,
        base: Checkpoint | None = None,
        newest: Callable[[], Path | None] = lambda: None,
        shard: Callable[[PreTrainedModel, Any], None] | None = None,
        reduce_last: bool = False,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network = network
        self.options = optimizer
        self.steps = steps
        self.tasks = tuple(steps.mixture.tasks)
        self.val_metrics = TaskMetrics(held_out)
        self.product_dtype, self.base = product_dtype, base
        self.newest, self.shard, self.reduce_last = newest, shard, reduce_last
        # a single process may save only the adapters; shards can only be read whole
        self.strict_loading = shard is not None or all(p.requires_grad for p in network.parameters())

    def configure_model(self) -> None:
        """Shard the network over the ranks, once the processes are connected."""
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
        for left, micro in zip(reversed(range(len(batch["micro"]))), batch["micro"], strict=True):
            if self.reduce_last and isinstance(self.network, FSDPModule):
                self.network.set_requires_gradient_sync(left == 0)
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
        # the sums already cover all ranks: a torchmetrics metric would synchronize once more in every step
        return {**_averages("", loss), **self._by_task(sums, batch["task_tokens"]), "gradient_norm": norm, "lr": rate}

    def validate_batch(self, batch: Batch, task: int) -> None:
        """Add a micro-batch of one task to `val_metrics`; all ranks must call this together."""
        self.val_metrics.update(task, *token_losses_and_hits(self.network, batch))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out frozen weights: they equal the base's."""
        if not self.strict_loading:
            trained = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
            checkpoint["state_dict"] = {name: checkpoint["state_dict"][name] for name in sorted(trained)}

    def configure_optimizers(self) -> Any:
        """Build AdamW and its schedule, both stepped by hand."""
        embedding = self.network.get_input_embeddings().weight
        assert isinstance(embedding, torch.nn.Parameter)
        optimizer = build_optimizer(self.network.parameters(), self.options, [embedding])
        schedule = build_schedule(optimizer, len(self.steps), self.options.warmup)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _by_task(self, sums: torch.Tensor, counts: Sequence[int]) -> dict[str, torch.Tensor]:
        """`<task>/loss` and `<task>/perplexity` of the tasks in the batch, if the run has several tasks."""
        if len(self.tasks) < 2:
            return {}
        found = dict[str, torch.Tensor]()
        for task, total, count in zip(self.tasks, sums, counts, strict=True):
            if count:
                found |= _averages(f"{task}/", total / count)
        return found

    def _clipped_norm(self) -> torch.Tensor:
        limit = self.options.clip_norm or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), limit)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    def _refuse_nan(self, loss: torch.Tensor, norm: torch.Tensor) -> None:
        if torch.isfinite(loss) and torch.isfinite(norm):
            return
        step, kept = self.trainer.global_step, self.newest()
        saved = "no checkpoint had been saved yet" if kept is None else f"the last checkpoint is kept, {kept}"
        raise Stopped(
            f"loss {float(loss)} and gradient norm {float(norm)} at step {step + 1}; {saved}. Lower "
            f"strategy.learning_rate, or check the rows of the batch: {', '.join(self.steps.row_names(step))}"
        )


def _averages(prefix: str, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    return {f"{prefix}loss": loss, f"{prefix}perplexity": loss.exp()}
