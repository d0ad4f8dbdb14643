"""Loss of a network outside of training, on rows of every task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from lightning.fabric.utilities import move_data_to_device
from transformers import PreTrainedModel

from src.data.collate import Batch
from src.lit_modules.loss import token_losses_and_hits
from src.lit_modules.metrics import TaskMetrics


@torch.no_grad()
def task_losses(network: PreTrainedModel, batches: Mapping[str, Sequence[Batch]]) -> dict[str, float]:
    """Mean loss of an answer token of each task, as training validates it.

    Args:
        network: In evaluation mode.
        batches: Micro-batches by task (see `validation_batches`).

    Returns:
        Loss by task.
    """
    metrics = TaskMetrics(list(batches)).to(network.device)
    for task, micro_batches in enumerate(batches.values()):
        for micro in micro_batches:
            metrics.update(task, *token_losses_and_hits(network, move_data_to_device(micro, network.device)))
    values = metrics.compute()
    return {task: float(values[f"{task}/loss"]) for task in batches}
