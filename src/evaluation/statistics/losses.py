"""Losses of rows: their mean per answer token, and one value per row whose mean it is.

N rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from src.evaluation.statistics.bootstrap import Array
from src.evaluation.statistics.scores import NLL, Score


@dataclass(frozen=True)
class RowLosses:
    """Negative log-likelihood of the answers of a task's rows, in nats.

    Args:
        ids: Name of each row (N).
        sums: Sum over the answer tokens of each row (N).
        tokens: Answer tokens of each row (N).
    """

    ids: Sequence[str]
    sums: Array
    tokens: Array

    @property
    def mean(self) -> float:
        """Mean per answer token over all rows: the validation loss of training."""
        return float(self.sums.sum() / self.tokens.sum())

    @property
    def values(self) -> Array:
        """One value per row (N), with `mean` as their mean.

        A mean per token is a ratio of two sums over rows: with their lengths, rows draw both. The values are its
        linearization (delta method), so that the intervals and paired tests of means hold for the ratio: a long row
        counts for more tokens, but being long is no loss.
        """
        values: Array = self.mean + (self.sums - self.mean * self.tokens) / self.tokens.mean()
        return values

    def scores(self, benchmark: str) -> list[Score]:
        """The values as scores; a row id that several sources share gets its row number."""
        unique = len(set(self.ids)) == len(self.ids)
        names = self.ids if unique else [f"{name}#{number}" for number, name in enumerate(self.ids)]
        return [Score(benchmark, name, NLL, float(value)) for name, value in zip(names, self.values, strict=True)]

    def rows(self) -> dict[str, Sequence[object]]:
        """Columns of `losses-<benchmark>.csv`."""
        means = self.sums / np.maximum(self.tokens, 1)
        return {
            "row": list(self.ids),
            "nll": means.tolist(),
            "answer_tokens": self.tokens.astype(int).tolist(),
        }
