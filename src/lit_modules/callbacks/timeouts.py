"""Time limit of the exchanges between ranks while they train."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import lightning as L
import torch.distributed
from torch.distributed.distributed_c10d import _set_pg_timeout
from torch.distributed.tensor import DTensor

from src.lit_modules.world import PATIENCE

STEP_PATIENCE = timedelta(minutes=15)  # validation and a save to a slow disk take minutes; a hanging rank takes all day


class CollectiveTimeouts(L.Callback):
    """Wait for other ranks for minutes instead of hours, from the second step on: the first may compile."""

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Lower the limit after the first step of this attempt."""
        if batch_idx == 0:
            set_patience(pl_module, STEP_PATIENCE)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Restore it: one rank exports, hashes or merges while the others wait."""
        set_patience(pl_module, PATIENCE)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Restore it for the next job of a sweep."""
        set_patience(pl_module, PATIENCE)


def set_patience(module: torch.nn.Module, limit: timedelta) -> None:
    """Set the time limit of all process groups that a sharded module uses, and of the default one."""
    if not torch.distributed.is_initialized():
        return
    groups = [torch.distributed.group.WORLD]
    sharded = next((parameter for parameter in module.parameters() if isinstance(parameter, DTensor)), None)
    if sharded is not None:
        groups += sharded.device_mesh.get_all_groups()
    for group in groups:
        _set_pg_timeout(limit, group)
