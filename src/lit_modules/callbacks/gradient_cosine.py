"""Do the tasks of a mixture pull the weights in the same direction?

The cosine of two tasks' gradients (arXiv 2001.06782), each of the mean answer-token loss on the same rows every time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any

import lightning as L
import torch
from transformers import PreTrainedModel

from src.data.collate import Batch
from src.lit_modules.callbacks.record import BEFORE_STEP
from src.lit_modules.loss import token_losses
from src.lit_modules.sharding import local

Row = dict[str, Any]
Write = Callable[[L.Trainer, Row], None]


class GradientCosine(L.Callback):
    """Measures before every N-th step, on whole or sharded parameters; training is not changed by it.

    It holds one gradient a task for a moment, each rank that of its shard.

    Args:
        batches: This rank's micro-batches by task.
        every_steps: Steps between measurements.
        write: Called with a row: `gradient_cosine_<task>_<task>` and `gradient_norm_<task>`.
    """

    def __init__(self, batches: Mapping[str, list[Batch]], every_steps: int, write: Write) -> None:
        self.batches, self.every_steps, self.write = batches, every_steps, write

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Measures where it is due."""
        if trainer.global_step % self.every_steps == 0:
            self.write(trainer, {"split": BEFORE_STEP, **self.measure(trainer, pl_module)})

    def measure(self, trainer: L.Trainer, module: L.LightningModule) -> Row:
        """Cosines and norms at the weights as they are."""
        devices = [module.device] if module.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):  # dropout must not shift the stream of the steps
            gradients = {task: self._gradient(trainer, module, task) for task in self.batches}
        tasks = list(gradients)
        pairs = [*((task, task) for task in tasks), *combinations(tasks, 2)]
        dots = torch.stack([_dot(gradients[one], gradients[other]) for one, other in pairs]).to(module.device)
        total = dict(zip(pairs, trainer.strategy.reduce(dots, reduce_op="sum").tolist(), strict=True))
        norms = {task: math.sqrt(total[task, task]) for task in tasks}
        cosines = {
            f"gradient_cosine_{one}_{other}": total[one, other] / (norms[one] * norms[other])
            for one, other in combinations(tasks, 2)
            if norms[one] * norms[other] > 0
        }
        return {**cosines, **{f"gradient_norm_{task}": norm for task, norm in norms.items()}}

    def _gradient(self, trainer: L.Trainer, module: L.LightningModule, task: str) -> list[torch.Tensor]:
        """This rank's shards of the gradient of the summed loss (its length cancels in a cosine, not in a norm)."""
        tokens = torch.tensor(float(sum(len(micro["targets"]) for micro in self.batches[task])), device=module.device)
        scale = trainer.world_size / trainer.strategy.reduce(tokens, reduce_op="sum")
        network = module.network
        assert isinstance(network, PreTrainedModel)
        for batch in self.batches[task]:
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
