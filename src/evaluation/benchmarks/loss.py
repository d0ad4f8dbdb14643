"""Loss of a task's held-out training rows: what training prints as its validation loss, for any checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

from pydantic import Field

from src.data.examples import Example
from src.evaluation.benchmarks.base import check_split
from src.evaluation.statistics.losses import RowLosses
from src.evaluation.statistics.scores import NLL, Score
from src.utils.errors import UserError
from src.utils.files import sha256_json

Count = Annotated[int, Field(ge=1)]
TOKENS = 16_384  # of one forward pass without gradients; small models are several times faster than with 8 rows


class LossBenchmark:
    """Mean negative log-likelihood per answer token of a task's rows. It needs no generation; lower is better.

    Args:
        name: Name in score tables.
        task: Task that it measures.
        sources: Sources of the task's training rows; each has `examples(split)`.
        max_length: Longest row in tokens; longer ones are truncated.
        micro_batch: Rows of one forward pass; it changes the loss only by rounding. None: as many as `TOKENS` hold.
        limit: Maximum number of rows, evenly spaced; None: all.
        splits: Splits that it has.
    """

    def __init__(
        self,
        name: str,
        task: str,
        sources: Sequence[Any],
        max_length: Count,
        micro_batch: Count | None = None,
        limit: Count | None = None,
        splits: Sequence[str] = ("validation",),
    ) -> None:
        self.name, self.task, self.sources, self.splits = name, task, list(sources), tuple(splits)
        self.max_length, self.limit = max_length, limit
        self.micro_batch = micro_batch or max(1, TOKENS // max_length)
        self._hashes = dict[str, str]()

    @property
    def definitions(self) -> dict[str, str]:
        """Map the metric to its definition."""
        return {NLL: "mean negative log-likelihood per answer token, in nats; lower is better"}

    def examples(self, split: str) -> list[Example]:
        """All rows of a split, before `limit`.

        Raises:
            UserError: There is no such split, a file is missing, or there are no rows.
        """
        check_split(self.name, split, self.splits)
        found = [example for source in self.sources for example in source.examples(split)]
        if not found:
            raise UserError(f"{self.name}: the sources of task {self.task} have no {split} rows")
        return found

    def content_hash(self, split: str) -> str:
        """Hash the rows."""
        if split not in self._hashes:
            self._hashes[split] = sha256_json([asdict(example) for example in self.examples(split)])
        return self._hashes[split]

    def rules(self) -> dict[str, Any]:
        """Return what decides a score besides rows and settings: nothing."""
        return {}

    def score(self, losses: RowLosses) -> list[Score]:
        """One score per row."""
        return losses.scores(self.name)
