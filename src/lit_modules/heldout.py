"""Loss of a network outside of training, row by row.

N rows, P predicted tokens of a micro-batch.
"""

from __future__ import annotations

import numpy as np
import torch
from lightning.fabric.utilities import move_data_to_device
from transformers import PreTrainedModel

from src.data.batches import HeldOutRows
from src.evaluation.statistics.losses import RowLosses
from src.lit_modules.loss import token_losses


@torch.no_grad()
def row_losses(network: PreTrainedModel, rows: HeldOutRows) -> RowLosses:
    """Losses of the answers of a task's rows; their mean per token is the loss with which training validates.

    Args:
        network: In evaluation mode.
        rows: The rows, on any device.
    """
    sums = np.zeros(len(rows.ids))
    for micro, order in zip(rows.batches, rows.order, strict=True):
        losses = token_losses(network, move_data_to_device(micro, network.device))  # P
        owners = np.repeat(order, rows.answer_tokens[order])
        sums += np.bincount(owners, weights=losses.double().cpu().numpy(), minlength=len(sums))
    return RowLosses(rows.ids, sums, rows.answer_tokens.astype(np.float64))
