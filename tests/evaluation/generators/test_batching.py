from __future__ import annotations

import random

from src.evaluation.generators.batching import batches


def test_hand_worked() -> None:
    # longest first: 8+2=10 tokens a row, two fit into 20; then 3+2=5, four fit
    assert list(batches([3, 8, 1, 7, 2], new_tokens=2, token_budget=20)) == [[1, 3], [0, 4, 2]]


def test_each_prompt_once_and_no_group_above_the_budget() -> None:
    generator = random.Random(0)
    lengths = [generator.randint(1, 500) for _ in range(300)]
    groups = list(batches(lengths, 100, 4000))
    assert sorted(index for group in groups for index in group) == list(range(300))
    for group in groups:
        longest = max(lengths[index] for index in group)
        assert len(group) == 1 or len(group) * (longest + 100) <= 4000


def test_a_prompt_above_the_budget_stands_alone() -> None:
    assert list(batches([50, 5], 10, 20)) == [[0], [1]]
    assert list(batches([], 10, 20)) == []
