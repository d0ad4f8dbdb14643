"""Loggers of a training run: the record on disk, and the trackers that mirror it (conf/logger).

The record, `metrics.jsonl`, is always written, and written first. Any Lightning logger can be added. One that fails
during training is dropped with a warning: a tracker that is down is no reason to lose days of work.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pandas as pd
from lightning.pytorch.loggers import Logger
from lightning.pytorch.loggers import WandbLogger as LightningWandbLogger
from lightning.pytorch.utilities import rank_zero_only

from src.utils.errors import UserError
from src.utils.files import write_text
from src.utils.jsonl import read_jsonl
from src.utils.progress import say

BEFORE_STEP = "gradients/"  # these values are logged before the next step begins, all others when their step ends


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
            say(f"warning: {_label(logger)} failed ({_reason(error)}) and is dropped; metrics.jsonl is still written")


def as_loggers(nodes: Mapping[str, Any]) -> list[Logger]:
    """The objects that conf/logger has built.

    Raises:
        UserError: One of them is not a Lightning logger.
    """
    for name, found in nodes.items():
        if not isinstance(found, Logger):
            raise UserError(
                f"logger.{name}: expected a lightning.pytorch.loggers.Logger, got {type(found).__module__}."
                f"{type(found).__qualname__}"
            )
    return list(nodes.values())


@contextlib.contextmanager
def opened(loggers: Sequence[Logger], config: Mapping[str, Any], results: Mapping[str, Any]) -> Iterator[None]:
    """Open trackers before anything else is done, and close them whether the run succeeds or fails.

    Args:
        loggers: The trackers.
        config: What they show as the run's configuration.
        results: What they show as its result; filled inside.

    Raises:
        UserError: A tracker cannot be opened; better to fail now than during training.
    """
    try:
        for logger in loggers:
            _open(logger, config)
        yield
    except BaseException:
        _close(loggers, None)
        raise
    _close(loggers, results)


def _open(logger: Logger, config: Mapping[str, Any]) -> None:
    try:
        logger.log_hyperparams(dict(config))
    except UserError:
        raise
    except Exception as error:  # from whatever library the tracker uses
        raise UserError(f"logger: {_label(logger)} cannot be opened: {_reason(error)}; or set logger=csv") from error


def _close(loggers: Sequence[Logger], results: Mapping[str, Any] | None) -> None:
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.close(results)


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


class WandbLogger(LightningWandbLogger):
    """Lightning's logger for Weights & Biases, with one W&B run per training run; offline without a key.

    Args:
        name: Name of the run.
        id: With a key, a run with this id is resumed, so that a restart continues the same W&B run.
        project: W&B project.
        entity: W&B team or user; None: the key's own.
        group: Groups the runs of a sweep; None: no group.
        save_dir: Where offline runs are kept until `wandb sync`.
    """

    def __init__(
        self, name: str, id: str, project: str, entity: str | None = None, group: str | None = None, save_dir: str = "."
    ) -> None:
        mode = wandb_mode()
        super().__init__(
            name, save_dir, id, project=project, entity=entity, group=group, mode=mode,
            resume="allow" if mode == "online" else None,  # only the server knows what came before
            settings={"silent": True},
        )  # fmt: skip
        del self._wandb_init["anonymous"]  # W&B warns that it has no effect, even if it is None

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        """Open the W&B run with a configuration.

        Raises:
            UserError: W&B refuses, e.g. the key.
        """
        Path(self.save_dir or ".").mkdir(parents=True, exist_ok=True)
        try:
            super().log_hyperparams(params)
        except Exception as error:  # mostly wandb.Error
            raise UserError(f"logger=wandb: {_reason(error)}; or set WANDB_MODE=offline, or logger=csv") from error

    @rank_zero_only
    def close(self, results: Mapping[str, Any] | None) -> None:
        """Close the W&B run with its results, or as failed; the next run of a sweep opens its own."""
        if self._experiment is not None:
            if results is not None:
                self.experiment.summary.update(dict(results))
            self.experiment.finish(exit_code=0 if results is not None else 1)


def wandb_mode() -> str:
    """`WANDB_MODE` if set; else online with a key in the environment or in ~/.netrc, and offline without one."""
    if "WANDB_MODE" in os.environ:
        return os.environ["WANDB_MODE"]
    netrc = Path.home() / ".netrc"
    has_key = "WANDB_API_KEY" in os.environ or (netrc.is_file() and "wandb" in netrc.read_text(encoding="utf-8"))
    return "online" if has_key else "offline"


def _label(logger: Logger) -> str:
    return type(logger).__name__


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
