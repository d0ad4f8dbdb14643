"""Tokenized rows as flat arrays, possibly memory-mapped; batches are taken as slices.

N rows, T tokens of all rows together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IGNORED = -100  # the label that torch's cross-entropy skips


@dataclass(frozen=True)
class Part:
    """Consecutive rows of a table that come from one source.

    Args:
        rows: Their number.
        weight: Passes over them per epoch.
    """

    rows: int
    weight: float

    @property
    def epoch_rows(self) -> int:
        """Rows per epoch."""
        return max(1, round(self.weight * self.rows))


@dataclass(frozen=True)
class TokenTable:
    """Tokenized rows of one task.

    Args:
        ids: Name of each row (N), for messages.
        tokens: int32 (T), tokens of all rows end to end, possibly also of rows that are not in the table.
        starts: int64 (N), offset of each row in `tokens`.
        lengths: int64 (N), tokens of each row.
        prompts: int64 (N), leading tokens of each row that carry no loss.
        parts: Rows by source, if sources have weights; empty: each row comes once per epoch.
    """

    ids: Sequence[str]
    tokens: NDArray[np.int32]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    prompts: NDArray[np.int64]
    parts: tuple[Part, ...] = ()

    @classmethod
    def build(cls, ids: Sequence[str], rows: Sequence[Sequence[int]], prompts: Sequence[int]) -> TokenTable:
        """Lay out `rows` (token ids); the first `prompts[i]` tokens of row i carry no loss."""
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        flat = np.fromiter((token for row in rows for token in row), dtype=np.int32, count=int(lengths.sum()))
        return cls(tuple(ids), flat, _starts(lengths), lengths, np.array(prompts, dtype=np.int64))

    @classmethod
    def join(cls, parts: Sequence[TokenTable]) -> TokenTable:
        """Concatenate tables."""
        offsets = np.cumsum([0, *(len(part.tokens) for part in parts[:-1])])
        return cls(
            tuple(name for part in parts for name in part.ids),
            np.concatenate([part.tokens for part in parts]),
            np.concatenate([part.starts + offset for part, offset in zip(parts, offsets, strict=True)]),
            np.concatenate([part.lengths for part in parts]),
            np.concatenate([part.prompts for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def sources(self) -> tuple[Part, ...]:
        """Rows by source; one part without weights."""
        return self.parts or (Part(len(self), 1.0),)

    @property
    def epoch_rows(self) -> int:
        """Rows per epoch by the weights of the sources."""
        return sum(part.epoch_rows for part in self.sources)

    @property
    def mean_length(self) -> float:
        """Mean number of tokens of a row of an epoch."""
        weights = np.repeat([part.weight for part in self.sources], [part.rows for part in self.sources])
        return float(np.average(self.lengths, weights=weights))

    @property
    def answer_lengths(self) -> NDArray[np.int64]:
        """Tokens with loss of each row, int64 (N); the first token of a raw document is never predicted."""
        return self.lengths - np.maximum(self.prompts, 1)

    def row(self, index: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Token ids and labels of a row, both of its length; labels are -100 where there is no loss."""
        start = int(self.starts[index])
        tokens = self.tokens[start : start + int(self.lengths[index])]
        labels = tokens.astype(np.int64)
        labels[: max(1, int(self.prompts[index]))] = IGNORED
        return tokens, labels

    def subset(self, rows: NDArray[np.int64]) -> TokenTable:
        """Select rows without copying their tokens."""
        return TokenTable(
            [self.ids[row] for row in rows], self.tokens, self.starts[rows], self.lengths[rows], self.prompts[rows]
        )

    def fingerprint(self) -> str:
        """Hex SHA-256 over tokens and masks."""
        digest = hashlib.sha256()
        for array in (self.lengths, self.prompts):
            digest.update(np.ascontiguousarray(array).tobytes())
        for start, length in zip(self.starts.tolist(), self.lengths.tolist(), strict=True):
            digest.update(np.ascontiguousarray(self.tokens[start : start + length]))
        digest.update(repr(self.parts).encode() if self.parts else b"")
        return digest.hexdigest()


def _starts(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.cumsum(lengths) - lengths
