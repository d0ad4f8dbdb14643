from __future__ import annotations

import numpy as np

from src.data.mixture import Mixture
from src.data.table import TokenTable


def table(count: int) -> TokenTable:
    return TokenTable.build([str(i) for i in range(count)], [[0, 1]] * count, [1] * count)


def test_every_row_once_an_epoch() -> None:
    mixture = Mixture({"a": table(5), "b": table(3)}, seed=0)
    order = mixture.epoch(0)
    assert sorted(order) == list(range(8))
    assert [mixture.locate(row) for row in (0, 4, 5, 7)] == [(0, 0), (0, 4), (1, 0), (1, 2)]


def test_order_is_a_function_of_seed_and_epoch() -> None:
    first, again, other = (Mixture({"a": table(50)}, seed) for seed in (0, 0, 1))
    later = again.epoch(1)
    assert np.array_equal(first.epoch(0), again.epoch(0))
    assert np.array_equal(first.epoch(1), later)
    assert not np.array_equal(first.epoch(0), first.epoch(1))
    assert not np.array_equal(first.epoch(0), other.epoch(0))


def test_stream_goes_on_over_epochs_and_starts_anywhere() -> None:
    mixture = Mixture({"a": table(5)}, seed=3)
    whole = np.concatenate([mixture.epoch(epoch) for epoch in range(4)])
    assert np.array_equal(mixture.stream(0, 20), whole)
    assert np.array_equal(mixture.stream(3, 14), whole[3:14])
    assert np.array_equal(mixture.stream(7, 9), whole[7:9])
    assert len(mixture.stream(4, 4)) == 0
