"""The rows of a training run, for the trainer and its callbacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import lightning as L
import numpy as np

from src.data.batches import StepBatches, validation_batches
from src.data.collate import Batch
from src.data.table import TokenTable


@dataclass(frozen=True)
class TrainingRows:
    """Tokenized rows of a run.

    Args:
        train: By task.
        validation: By task; may be empty.
        pad_token: Token id of the padding.
    """

    train: Mapping[str, TokenTable]
    validation: Mapping[str, TokenTable]
    pad_token: int


class BatchLoader:
    """Yield global batches from a given step on; the length is that of the whole run.

    Lightning counts the steps before a restart as already fetched, hence the length. The number of finished optimizer
    steps says where to resume, so the loader keeps no state.

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
        """Return nothing: the trainer's step count is the position."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore nothing."""


class TokenDataModule(L.LightningDataModule):
    """The steps of a run, and its rows for callbacks, which find it as `trainer.datamodule`.

    Args:
        rows: Rows of the run.
        steps: All steps, divided over ranks and micro-batches.
    """

    def __init__(self, rows: TrainingRows, steps: StepBatches) -> None:
        super().__init__()
        self.rows, self.steps = rows, steps

    def train_dataloader(self) -> BatchLoader:
        """The remaining steps, counted from the trainer's own step."""
        assert self.trainer is not None
        return BatchLoader(self.steps, self.trainer.global_step)

    def micro_batches(self, tables: Mapping[str, TokenTable], most: int | None = None) -> dict[str, list[Batch]]:
        """This rank's micro-batches of rows by task, in the layout of the run.

        Args:
            tables: `rows.train` or `rows.validation`.
            most: Maximum number of rows per task, the first ones; None: all.
        """
        batches = {}
        for number, (task, table) in enumerate(tables.items()):
            first = table if most is None else table.subset(np.arange(min(len(table), most)))
            batches[task] = validation_batches(first, self.steps.layout, self.rows.pad_token, number)
        return batches
