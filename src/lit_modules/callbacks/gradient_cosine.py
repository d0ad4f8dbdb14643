"""The angle between the gradients of a mixture's tasks (conf/callbacks/gradient_cosine.yaml).

The cosine of two tasks' gradients (arXiv 2001.06782), each of the mean answer-token loss on the same rows every time.
Below 0, a step for one task undoes part of the other's progress.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import lightning as L
import torch
from transformers import PreTrainedModel

from src.data.collate import Batch
from src.lit_modules.datamodule import TokenDataModule
from src.lit_modules.loggers import BEFORE_STEP, log_values
from src.lit_modules.loss import token_losses
from src.lit_modules.options import require_positive
from src.lit_modules.sharding import copies_of, local
from src.utils.errors import UserError

KEY = "callbacks.gradient_cosine"


class GradientCosine(L.Callback):
    """Measure before every Nth step, on whole or sharded parameters, and log `gradients/cosine_<task>_<task>`.

    Training is not affected. It temporarily holds one gradient per task, each rank its own shard; the norms are logged
    as `gradients/norm_<task>`.

    Args:
        every_steps: Steps between measurements.
        rows: Number of rows per task to measure on: the first ones.

    Raises:
        UserError: A number is below 1, or, at the start of training, there is only one task.
    """

    def __init__(self, every_steps: int, rows: int = 32) -> None:
        require_positive(every_steps, f"{KEY}.every_steps")
        require_positive(rows, f"{KEY}.rows")
        self.every_steps, self.rows = every_steps, rows
        self._batches: Mapping[str, list[Batch]] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the rows."""
        datamodule = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(datamodule, TokenDataModule)
        tasks = list(datamodule.rows.train)
        if len(tasks) < 2:
            raise UserError(f"{KEY} compares tasks, but {tasks[0]} is the only one: set strategy=mix")
        self._batches = datamodule.micro_batches(datamodule.rows.train, self.rows)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Measure if it is due."""
        if trainer.global_step % self.every_steps == 0:
            values = self.measure(trainer, pl_module)
            log_values(trainer, {f"{BEFORE_STEP}{name}": value for name, value in values.items()})

    def measure(self, trainer: L.Trainer, module: L.LightningModule) -> dict[str, float]:
        """Cosines and norms at the current weights."""
        devices = [module.device] if module.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):  # dropout here must not shift the training steps' random stream
            gradients = {task: self._gradient(trainer, module, task) for task in self._batches}
        tasks = list(gradients)
        pairs = [*((task, task) for task in tasks), *combinations(tasks, 2)]
        dots = torch.stack([_dot(gradients[one], gradients[other]) for one, other in pairs]).to(module.device)
        dots /= copies_of(next(module.parameters()))  # ranks with the same shards count once
        total = dict(zip(pairs, trainer.strategy.reduce(dots, reduce_op="sum").tolist(), strict=True))
        norms = {task: math.sqrt(total[task, task]) for task in tasks}
        cosines = {
            f"cosine_{one}_{other}": total[one, other] / (norms[one] * norms[other])
            for one, other in combinations(tasks, 2)
            if norms[one] * norms[other] > 0
        }
        return {**cosines, **{f"norm_{task}": norm for task, norm in norms.items()}}

    def _gradient(self, trainer: L.Trainer, module: L.LightningModule, task: str) -> list[torch.Tensor]:
        """This rank's shards of the gradient of the summed loss (its length cancels in a cosine, not in a norm)."""
        tokens = torch.tensor(float(sum(len(micro["targets"]) for micro in self._batches[task])), device=module.device)
        scale = trainer.world_size / trainer.strategy.reduce(tokens, reduce_op="sum")
        network = module.network
        assert isinstance(network, PreTrainedModel)
        for batch in self._batches[task]:
            micro = trainer.strategy.batch_to_device(batch)
            with trainer.precision_plugin.train_step_context():
                loss = token_losses(network, micro).sum() * scale
            module.manual_backward(loss)
        found = [local(p.grad).detach().clone() for p in network.parameters() if p.grad is not None]
        network.zero_grad()
        return found


def _dot(one: list[torch.Tensor], other: list[torch.Tensor]) -> torch.Tensor:
    products = [
        torch.dot(left.flatten().double(), right.flatten().double()) for left, right in zip(one, other, strict=True)
    ]
    return torch.stack(products).sum()
