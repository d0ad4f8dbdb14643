"""The training stream as the trainer asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lightning as L

from src.data.batches import StepBatches
from src.data.collate import Batch


class BatchLoader:
    """Yields global batches from a step on; its length is that of the whole run.

    Lightning counts the steps before a restart as already fetched, hence the length. Where to go on is known from the
    number of optimizer steps done, so there is no state of its own to keep.

    Args:
        batches: All steps of the run.
        start: The first one to yield.
    """

    def __init__(self, batches: StepBatches, start: int) -> None:
        self.batches, self.start = batches, start

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        for step in range(self.start, len(self.batches)):
            yield self.batches[step]

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the trainer's step count is the position."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing to restore."""


class TokenDataModule(L.LightningDataModule):
    """The steps of a run, from the one on that the trainer has come to.

    Args:
        batches: All steps of the run.
    """

    def __init__(self, batches: StepBatches) -> None:
        super().__init__()
        self.batches = batches

    def train_dataloader(self) -> BatchLoader:
        """The steps that are still to do."""
        assert self.trainer is not None
        return BatchLoader(self.batches, self.trainer.global_step)
