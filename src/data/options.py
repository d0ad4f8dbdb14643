"""Options of the training rows: the node `data` of conf/train.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from src.utils.validation import checked_dataclass

Count = Annotated[int, Field(ge=1)]


@checked_dataclass("data")
class DataOptions:
    """The rows to train on, and the cache of their tokens.

    Args:
        fraction: Share of every task's training rows, above 0, at most 1; a smaller share is a subset of a larger one.
        seed: Decides which rows.
        cache: Directory of tokenized rows; "auto" leaves it to the stage; None: in memory, again in each run.
        workers: Number of tokenizing processes; None: one per core if there are many rows.
        decontaminate: Drop training rows that contain an item of the tasks' benchmarks.
        limit: Maximum number of rows per task and split, evenly spaced, for a trial run; None: all.
    """

    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: int = 0
    cache: str | None = "auto"
    workers: Count | None = None
    decontaminate: bool = False
    limit: Count | None = None
