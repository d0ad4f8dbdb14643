from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from src.data.budget import Budget, step_starts
from src.data.mixture import Mixture
from src.data.table import TokenTable
from src.utils.errors import UserError


def mixture(lengths: list[int], seed: int = 0) -> Mixture:
    table = TokenTable.build([str(i) for i in range(len(lengths))], [[0] * n for n in lengths], [1] * len(lengths))
    return Mixture({"a": table}, seed)


def starts(found: Mixture, **budget: Any) -> list[int]:
    return step_starts(found, Budget(**budget)).tolist()


def test_rows_by_hand() -> None:
    ten = mixture([4] * 10)
    assert starts(ten, batch_size=4, epochs=1) == [0, 4, 8, 10]
    assert starts(ten, batch_size=4, epochs=1.5) == [0, 4, 8, 12, 15]
    assert starts(ten, batch_size=4, steps=3) == [0, 4, 8, 12]
    assert starts(ten, batch_size=4, tokens=30) == [0, 4, 8]  # 8 rows are the first that reach 30 tokens


def test_tokens_of_a_step_by_hand() -> None:
    four = mixture([4] * 10)
    assert starts(four, batch_tokens=12, steps=3) == [0, 3, 6, 9]
    assert starts(four, batch_tokens=10, steps=4) == [0, 2, 5, 7, 10]  # 8, 12, 8 and 12 tokens: no drift
    assert starts(four, batch_tokens=12, epochs=1) == [0, 3, 6, 9, 10]


def test_equal_token_budgets_on_unequal_data_cost_the_same() -> None:
    random = np.random.default_rng(0)
    short, long = mixture(random.integers(5, 50, 300).tolist()), mixture(random.integers(100, 400, 90).tolist())
    for data, longest in ((short, 50), (long, 400)):
        found = step_starts(data, Budget(batch_tokens=2000, tokens=40_000))
        lengths = data.stream_lengths(int(found[-1]))
        assert abs(len(found) - 1 - 20) <= 1
        assert abs(int(lengths.sum()) - 40_000) < longest
        per_step = np.add.reduceat(lengths, found[:-1])
        assert np.abs(per_step - 2000).max() < longest or per_step[-1] < 2000


def test_a_row_longer_than_a_step_is_a_step() -> None:
    found = step_starts(mixture([50, 50]), Budget(batch_tokens=10, epochs=1))
    assert found.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"batch_size": 1}, r"one of strategy.steps, strategy.epochs, strategy.tokens, got none"),
        ({"batch_size": 1, "steps": 1, "epochs": 1}, r"got strategy.steps=1, strategy.epochs=1"),
        ({"steps": 1}, r"one of strategy.batch_size, strategy.batch_tokens, got none"),
        ({"batch_size": 0, "steps": 1}, r"strategy.batch_size must be at least 1, got 0"),
        ({"batch_size": 1, "epochs": -1.0}, r"strategy.epochs must be above 0, got -1.0"),
    ],
)
def test_bad_budgets(budget: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Budget(**budget)
