"""Trackers: what they are asked to do, and any Lightning logger as one of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from src.tracking.contents import Contents
from src.utils.errors import UserError


@dataclass(frozen=True)
class Header:
    """Name of a run and what it is found by.

    Args:
        name: Name of its directory.
        job_type: Its stage.
        tags: Words to filter by.
        config: Nested.
        place: What an earlier attempt of this run recorded of its tracker, else empty.
    """

    name: str
    job_type: str
    tags: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    place: Mapping[str, Any] = field(default_factory=dict)


class Tracker(Protocol):
    """One run of a tracker.

    Attributes:
        samples: Answers per benchmark that it shows.
    """

    samples: int

    def open(self, header: Header, live: bool = False) -> None:
        """Begin the run, or continue it; `live`: rows follow while it runs."""

    def place(self) -> dict[str, Any]:
        """What to record, so that the run is continued or found again."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Log values of a training step."""

    def show(self, contents: Contents) -> None:
        """Show a finished run, or what is known of it before its end."""

    def close(self, succeeded: bool) -> None:
        """End the run."""


class LoggerTracker:
    """A Lightning logger, such as those of TensorBoard and MLflow, as a tracker of any run: its config and numbers.

    Args:
        logger: The logger.
        name: Its key in the config, for messages.

    Raises:
        UserError: It is none.
    """

    samples = 0

    def __init__(self, logger: Any, name: str) -> None:
        if not all(hasattr(logger, method) for method in ("log_metrics", "log_hyperparams", "finalize")):
            raise UserError(
                f"logger.{name}: expected a lightning.pytorch.loggers.Logger, got {type(logger).__module__}."
                f"{type(logger).__qualname__}"
            )
        self.logger = logger

    def open(self, header: Header, live: bool = False) -> None:
        """Log the configuration."""
        self.logger.log_hyperparams(dict(header.config))
        self._is_live = live

    def place(self) -> dict[str, Any]:
        """Return nothing: its files or its server are named by the configuration."""
        return {}

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Log values."""
        self.logger.log_metrics(dict(values), step)

    def show(self, contents: Contents) -> None:
        """Log the history, unless it has been logged live, and the final numbers."""
        rows = [] if self._is_live else contents.history
        for row in rows:
            self.log({key: value for key, value in row.items() if key != "step"}, row["step"])
        numbers = {
            plain_name(name): float(value) for name, value in contents.summary.items() if not isinstance(value, str)
        }
        last = max((int(row["step"]) for row in contents.history), default=0)
        if numbers:
            self.log(numbers, last)

    def close(self, succeeded: bool) -> None:
        """Close files, and set the status where there is one."""
        self.logger.finalize("success" if succeeded else "failed")


def plain_name(name: str) -> str:
    """A name of letters, digits and `_.-/` only: MLflow drops all other signs, and pass@1 and pass@1+ would be one.

    Example:
        >>> plain_name("scores/mbpp/pass@1+")
        'scores/mbpp/pass_at_1_plus'
    """
    return re.sub(r"[^A-Za-z0-9_./ -]", "_", name.replace("@", "_at_").replace("+", "_plus"))
