"""Where the figures of a training run go beside its `metrics.jsonl`: nowhere, a CSV table, or Weights & Biases."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import pandas as pd

from src.utils.errors import UserError
from src.utils.files import sha256_json
from src.utils.jsonl import read_jsonl

Row = dict[str, Any]


class Logger(Protocol):
    """The node of conf/logger."""

    def start(self, name: str, config: dict[str, Any], directory: Path) -> None:
        """A run begins; `directory` is its work folder."""
        ...

    def record(self, row: Row) -> None:
        """One row of `metrics.jsonl`: a training step (`loss`, ...) or a validation."""
        ...

    def finish(self, metrics: Path, results: dict[str, Any]) -> None:
        """The run ends: all its rows, and what goes into its record."""
        ...

    def fail(self) -> None:
        """The run ends with an error."""
        ...


class NoLogger:
    """`logger=none`: `metrics.jsonl` alone."""

    def start(self, name: str, config: dict[str, Any], directory: Path) -> None:
        """Nothing to open."""

    def record(self, row: Row) -> None:
        """Nothing to add."""

    def finish(self, metrics: Path, results: dict[str, Any]) -> None:
        """Nothing to close."""

    def fail(self) -> None:
        """Nothing to close."""


class CsvLogger(NoLogger):
    """`logger=csv`: the same rows as a table, `metrics.csv`."""

    def start(self, name: str, config: dict[str, Any], directory: Path) -> None:
        """Remembers where the table belongs."""
        self._directory = directory

    def finish(self, metrics: Path, results: dict[str, Any]) -> None:
        """Writes the table; a resumed run has all its rows in it."""
        pd.DataFrame(read_jsonl(metrics)).to_csv(self._directory / "metrics.csv", index=False)


class WandbLogger(CsvLogger):
    """`logger=wandb`: one Weights & Biases run a job beside the CSV table; offline where there is no key.

    Its series are `train/loss`, `validation/<task>/loss`, `weights/l2/<layer>`, `gradients/...`.

    Args:
        project: W&B project.
        entity: W&B team or user; None: the key's own.
        group: Groups the runs of a sweep; None: no group.
        directory: Where offline runs are kept until `wandb sync`.
    """

    def __init__(self, project: str, entity: str | None, group: str | None, directory: str) -> None:
        self.project, self.entity, self.group, self.directory = project, entity, group, directory

    def start(self, name: str, config: dict[str, Any], directory: Path) -> None:
        """Opens the W&B run; the same place and config are resumed, so that a restart goes on in one run."""
        import wandb

        super().start(name, config, directory)
        Path(self.directory).mkdir(parents=True, exist_ok=True)
        unique = sha256_json([str(directory.resolve()), config])[:12]
        try:
            self._run = wandb.init(
                project=self.project, entity=self.entity, group=self.group, name=name, id=unique,
                resume="allow" if wandb_mode() == "online" else None,  # where the server knows what came before
                config=config, dir=self.directory, mode=wandb_mode(), reinit="create_new",
                settings=wandb.Settings(silent=True),
            )  # fmt: skip
        except wandb.Error as error:
            reason = str(error).strip().splitlines()[0].rstrip(".")
            raise UserError(f"logger=wandb: {reason}; or set WANDB_MODE=offline, or logger=csv") from error

    def record(self, row: Row) -> None:
        """Logs the row at its step."""
        self._run.log(series(row), step=row["step"])

    def finish(self, metrics: Path, results: dict[str, Any]) -> None:
        """Writes the summary and closes the run."""
        super().finish(metrics, results)
        self._run.summary.update(results)
        self._run.finish()

    def fail(self) -> None:
        """Closes the run as failed."""
        self._run.finish(exit_code=1)


@contextlib.contextmanager
def started(logger: Logger, name: str, config: dict[str, Any], directory: Path) -> Iterator[None]:
    """A logger from the start of a run on; an error inside ends it as failed, else it is still to be finished."""
    logger.start(name, config, directory)
    with contextlib.ExitStack() as stack:
        stack.callback(logger.fail)
        yield
        stack.pop_all()


def series(row: Row) -> Row:
    """The figures of a row under names that say what they are of: rows of one step are one row of W&B."""
    path = "/".join(row[key] for key in ("split", "task") if key in row)
    return {f"{path}/{name}": value for name, value in row.items() if name not in ("step", "split", "task")}


Mode = Literal["online", "offline", "disabled", "shared"]


def wandb_mode() -> Mode:
    """`WANDB_MODE` where it is set; else online with a key in the environment or in ~/.netrc, and offline without."""
    if "WANDB_MODE" in os.environ:
        return cast(Mode, os.environ["WANDB_MODE"])
    netrc = Path.home() / ".netrc"
    has_key = "WANDB_API_KEY" in os.environ or (netrc.is_file() and "wandb" in netrc.read_text(encoding="utf-8"))
    return "online" if has_key else "offline"
