from __future__ import annotations

import numpy as np

from src.data.table import TokenTable

TABLE = TokenTable.build(["x", "y", "z"], [[1, 2, 3], [4, 5], [6, 7, 8, 9]], [1, 0, 2])


def test_rows_and_labels() -> None:
    tokens, labels = TABLE.row(2)
    assert tokens.tolist() == [6, 7, 8, 9]
    assert labels.tolist() == [-100, -100, 8, 9]
    assert TABLE.row(1)[1].tolist() == [-100, 5]  # nothing predicts the first token
    assert TABLE.answer_lengths.tolist() == [2, 1, 2]


def test_subset_shares_the_tokens() -> None:
    part = TABLE.subset(np.array([2, 0]))
    assert (len(part), list(part.ids)) == (2, ["z", "x"])
    assert part.row(0)[0].tolist() == [6, 7, 8, 9]
    assert np.shares_memory(part.tokens, TABLE.tokens)


def test_join_and_fingerprint() -> None:
    other = TokenTable.build(["w"], [[1, 2]], [1])
    joined = TokenTable.join([TABLE, other])
    assert [joined.row(row)[0].tolist() for row in (0, 3)] == [[1, 2, 3], [1, 2]]
    assert joined.fingerprint() != TABLE.fingerprint()
    assert joined.subset(np.arange(3)).fingerprint() == TABLE.fingerprint()
    masked = TokenTable.build(TABLE.ids, [[1, 2, 3], [4, 5], [6, 7, 8, 9]], [1, 1, 2])
    assert masked.fingerprint() != TABLE.fingerprint()
