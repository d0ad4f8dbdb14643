"""Options of the training rows: the node `data` of conf/train.yaml."""

from __future__ import annotations

from dataclasses import dataclass

from src.utils.errors import UserError


@dataclass(frozen=True)
class DataOptions:
    """Which rows to train on, and where their tokens are cached.

    Args:
        fraction: Share of every task's training rows, above 0, at most 1; a smaller share is a subset of a larger one.
        seed: Decides which rows.
        cache: Directory of tokenized rows; "auto" leaves it to the stage; None: in memory, again in each run.
        workers: Number of tokenizing processes; None: one per core if there are many rows.
        decontaminate: Drop training rows that contain an item of the tasks' benchmarks.
        limit: Maximum number of rows per task and split, evenly spaced, for a trial run; None: all.
    """

    fraction: float = 1.0
    seed: int = 0
    cache: str | None = "auto"
    workers: int | None = None
    decontaminate: bool = False
    limit: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise UserError(f"data.fraction={self.fraction}: expected a share above 0, at most 1")
        if self.workers is not None and self.workers < 1:
            raise UserError(f"data.workers={self.workers}: expected at least 1, or null")
        if self.limit is not None and self.limit < 1:
            raise UserError(f"data.limit={self.limit}: expected at least 1, or null")
