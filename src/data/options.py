"""Options of the training rows: the node `data` of conf/train.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

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
        deduplicate: Drop training rows that copy an earlier row of their task or a validation row of any task: "exact"
            up to white space, "near" also those that share most of their 5-grams; None: keep all.
        similarity: Share of 5-grams that makes a near copy.
        limit: Maximum number of rows per task and split, evenly spaced, for a trial run; None: all.
    """

    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: int = 0
    cache: str | None = "auto"
    workers: Count | None = None
    decontaminate: bool = False
    deduplicate: Literal["exact", "near"] | None = None
    similarity: Annotated[float, Field(ge=0.7, le=1)] = 0.8
    limit: Count | None = None

    @property
    def near(self) -> float | None:
        """Similarity of near copies to drop; None: there are none."""
        return self.similarity if self.deduplicate == "near" else None
