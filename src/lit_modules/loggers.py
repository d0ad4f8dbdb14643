"""Loggers of a training run: the record on disk, and the trackers that mirror it (conf/logger).

The record, `metrics.jsonl`, is always written, and written first. Any Lightning logger can be added. One that fails
during training is dropped with a warning: a tracker that is down is no reason to lose days of work.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import lightning as L
import pandas as pd
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from src.utils.errors import reason_of
from src.utils.files import write_text
from src.utils.jsonl import read_jsonl
from src.utils.progress import say

BEFORE_STEP = "gradients/"  # these values are logged before the next step begins, all others when their step ends


class RowTracker(Protocol):
    """Takes the rows of a training run."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Log values of a step."""


def log_values(trainer: L.Trainer, values: Mapping[str, float]) -> None:
    """Log values of the trainer's current step: to the record, then to every tracker.

    Args:
        trainer: Its loggers are written to, on the first rank.
        values: By name, e.g. `val/codegen/loss`.
    """
    if not trainer.is_global_zero:
        return
    for logger in list(trainer.loggers):
        try:
            logger.log_metrics(dict(values), step=trainer.global_step)
        except Exception as error:  # each tracker raises its own errors, and none is worth losing the run
            if isinstance(logger, RecordLogger):
                raise
            trainer.loggers = [other for other in trainer.loggers if other is not logger]
            say(f"warning: {_label(logger)} failed ({reason_of(error)}) and is dropped; metrics.jsonl is still written")


class RecordLogger(Logger):
    """`metrics.jsonl`: one row per call, with the step.

    Args:
        path: The JSON Lines file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name

    @property
    def version(self) -> str:
        """None: a run has one record."""
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append a row."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Leave the configuration to run.json."""

    @rank_zero_only
    def rewind(self, step: int) -> None:
        """Remove the rows of steps that will be repeated, so that a resumed run has the record of an uninterrupted one.

        A line cut short by a kill has no newline and is removed too.
        """
        if self.path.exists():
            lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and _is_before(json.loads(line), step)]
            write_text(self.path, "".join(kept))


def _is_before(row: dict[str, Any], step: int) -> bool:
    return row["step"] < step or (row["step"] == step and not any(name.startswith(BEFORE_STEP) for name in row))


class CsvTable(Logger):
    """`metrics.csv`: the record as a table.

    Written from the record when training ends, since Lightning's own CSVLogger starts an empty table on each restart.

    Args:
        record: `metrics.jsonl` of the run.
        path: The table.
    """

    def __init__(self, record: str, path: str) -> None:
        super().__init__()
        self.record, self.path = Path(record), Path(path)

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name

    @property
    def version(self) -> str:
        """None: a run has one table."""
        return ""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Do nothing: the record has the row."""

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Leave the configuration to run.json."""

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write the table."""
        if self.record.exists():
            pd.DataFrame(read_jsonl(self.record)).to_csv(self.path, index=False)


class TrackerLogger(Logger):
    """A tracker of `src/tracking` that follows a training run.

    Args:
        tracker: Takes the rows.
    """

    def __init__(self, tracker: RowTracker) -> None:
        super().__init__()
        self.tracker = tracker

    @property
    def name(self) -> str:
        """Name of the tracker's class, for messages."""
        return type(self.tracker).__name__

    @property
    def version(self) -> str:
        """None: a run has one tracker of a kind."""
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Pass a row on."""
        self.tracker.log(metrics, step or 0)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the tracker was opened with the configuration."""

    @rank_zero_only
    def repeat(self, record: Path) -> None:
        """Pass on the rows of an interrupted attempt; a tracker that has them leaves them out."""
        for row in read_jsonl(record) if record.exists() else []:
            self.log_metrics({name: value for name, value in row.items() if name != "step"}, row["step"])


def _label(logger: Logger) -> str:
    return str(logger.name) if isinstance(logger, TrackerLogger) else type(logger).__name__
