"""Losses of a run as JSON Lines: one row a training step, one row a task and validation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L

from src.data.collate import Batch
from src.lit_modules.callbacks.throughput import Throughput
from src.utils.files import write_text

Row = dict[str, Any]
BEFORE_STEP = "gradients"  # rows of this split are written when the next step begins, the others when theirs ends


class LossRecord(L.Callback):
    """Writes the rows, and hands each to a listener.

    After a restart, rows of steps that are now done again are removed first, so that a run that was killed leaves the
    rows of one that was not (but for its times).

    Args:
        path: The JSON Lines file.
        throughput: Where the rates of a step come from; it must run before this callback.
        on_record: Called with each row; None: nobody listens.
    """

    def __init__(self, path: Path, throughput: Throughput, on_record: Callable[[Row], None] | None = None) -> None:
        self.path, self.throughput, self.on_record = path, throughput, on_record

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Removes rows past the step that training goes on from."""
        if trainer.is_global_zero and self.path.exists():
            write_text(self.path, "".join(_rows_until(self.path.read_text(encoding="utf-8"), trainer.global_step)))

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """One row: loss, loss of each task, learning rate, gradient norm, rates."""
        row = {name: float(value) for name, value in outputs.items()}
        self.write(trainer, {"split": "train", **row, **self.throughput.last_step()})

    def validation(self, trainer: L.Trainer, losses: dict[str, float]) -> None:
        """One row a task, and one for `all`."""
        for task, loss in losses.items():
            self.write(trainer, {"split": "validation", "task": task, "loss": loss})

    def write(self, trainer: L.Trainer, row: Row) -> None:
        """Adds a row at the step that the trainer has come to."""
        if not trainer.is_global_zero:
            return
        row = {"step": trainer.global_step, **row}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if self.on_record is not None:
            self.on_record(row)


def _rows_until(text: str, step: int) -> list[str]:
    """Whole lines that will not be written again from `step` on; a line that a kill cut short has no newline."""
    return [
        line for line in text.splitlines(keepends=True) if line.endswith("\n") and _is_before(json.loads(line), step)
    ]


def _is_before(row: Row, step: int) -> bool:
    return row["step"] < step or (row["step"] == step and row["split"] != BEFORE_STEP)
