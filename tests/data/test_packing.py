from __future__ import annotations

import numpy as np
import pytest

from src.data.packing import best_fit, pack


def sums(lengths: list[int], packs: list[list[int]]) -> list[int]:
    return [sum(lengths[row] for row in rows) for rows in packs]


def test_best_fit_by_hand() -> None:
    """7 and 6 open packs; 4 fits only beside 6; 3 beside 7 exactly; 2 opens a third."""
    assert best_fit([7, 6, 4, 3, 2], 10) == [[0, 3], [1, 2], [4]]


def test_the_tightest_place_is_taken() -> None:
    assert best_fit([8, 6, 2, 4], 10) == [[0, 2], [1, 3]]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("multiple", [1, 3, 8])
def test_nothing_is_dropped_cut_or_over_capacity(seed: int, multiple: int) -> None:
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 100, 200).tolist()
    packs = pack(lengths, 100, multiple)
    assert sorted(row for rows in packs for row in rows) == list(range(200))
    assert max(sums(lengths, packs)) <= 100
    assert len(packs) % multiple == 0
    least = -(-sum(lengths) // 100)
    assert len(best_fit(lengths, 100)) <= 1.05 * least  # best-fit decreasing wastes little
    assert len(packs) < len(best_fit(lengths, 100)) + multiple


def test_ranks_get_similar_amounts() -> None:
    random = np.random.default_rng(0)
    lengths = random.integers(1, 50, 100).tolist()
    filled = sums(lengths, pack(lengths, 100, 8))
    ranks = [sum(filled[rank::8]) for rank in range(8)]
    assert max(ranks) < 1.06 * min(ranks)


def test_more_ranks_than_rows() -> None:
    assert pack([5, 3], 10, 4) == [[0], [1], [], []]


def test_full_packs_that_cannot_be_dealt_evenly_stay_best_fit() -> None:
    lengths = [6, 4, 6, 4, 5, 5]
    assert sums(lengths, pack(lengths, 10)) == [10, 10, 10]
