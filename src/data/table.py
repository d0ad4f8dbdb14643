"""Tokenised rows as three flat arrays, the form that batches are cut from.

N rows, T tokens of all rows together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IGNORED = -100  # the label that torch's cross-entropy passes over


@dataclass(frozen=True)
class TokenTable:
    """Tokenised rows of one task.

    Args:
        ids: Name of each row (N), for messages.
        tokens: int32 (T), the rows one after another.
        starts: int64 (N + 1), where each row begins; the last entry is T.
        prompts: int64 (N), how many leading tokens of each row carry no loss.
    """

    ids: tuple[str, ...]
    tokens: NDArray[np.int32]
    starts: NDArray[np.int64]
    prompts: NDArray[np.int64]

    @classmethod
    def build(cls, ids: Sequence[str], rows: Sequence[Sequence[int]], prompts: Sequence[int]) -> TokenTable:
        """Lay out `rows` (token ids) of which the first `prompts[i]` carry no loss."""
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        flat = np.fromiter((token for row in rows for token in row), dtype=np.int32, count=int(lengths.sum()))
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        return cls(tuple(ids), flat, starts, np.array(prompts, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each row, int64 (N)."""
        return np.diff(self.starts)

    @property
    def answer_lengths(self) -> NDArray[np.int64]:
        """Tokens with loss of each row, int64 (N); the first token of a raw document is never predicted."""
        return self.lengths - np.maximum(self.prompts, 1)

    def row(self, index: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Token ids and labels of a row, both of its length; labels are -100 where there is no loss."""
        tokens = self.tokens[self.starts[index] : self.starts[index + 1]]
        labels = tokens.astype(np.int64)
        labels[: max(1, int(self.prompts[index]))] = IGNORED
        return tokens, labels

    def fingerprint(self) -> str:
        """Hex SHA-256 over tokens and masks."""
        digest = hashlib.sha256()
        for array in (self.tokens, self.starts, self.prompts):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()
