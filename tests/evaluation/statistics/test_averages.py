from __future__ import annotations

import numpy as np
import pytest

from src.evaluation.statistics.averages import Panel
from src.evaluation.statistics.scores import ItemScore

SPECIALISTS, TASKS = {"codegen": "gen", "codesum": "sum"}, {"code": "codegen", "text": "codesum"}


def scores(code: list[float], text: list[float]) -> dict[str, list[ItemScore]]:
    return {
        "code": [ItemScore(f"c{number}", "pass@1", value) for number, value in enumerate(code)],
        "text": [ItemScore(f"t{number}", "bleu", value) for number, value in enumerate(text)],
    }


def panel() -> Panel:
    generator = np.random.default_rng(0)
    return Panel(
        {name: scores(list(generator.random(50)), list(generator.random(70))) for name in ("gen", "sum", "mix")},
        SPECIALISTS,
        TASKS,
    )


def test_items_are_those_of_all_benchmarks() -> None:
    assert panel().items() == 120
    assert panel().left_out == ()


def test_order_of_items_does_not_matter() -> None:
    tables = {"gen": scores([1, 0], [0.1, 0.2]), "sum": scores([0, 1], [0.3, 0.5]), "mix": scores([1, 1], [0.2, 0.4])}
    shuffled = {**tables, "mix": {name: rows[::-1] for name, rows in tables["mix"].items()}}
    one, other = (Panel(each, SPECIALISTS, TASKS) for each in (tables, shuffled))
    np.testing.assert_array_equal(one.drawn_averages(50, 0), other.drawn_averages(50, 0))


def test_a_specialist_is_drawn_together_with_itself() -> None:
    """On its own benchmark a specialist's change is exactly zero in every draw."""
    tables = {name: scores([1, 0, 1, 1], [0.5]) for name in ("gen", "sum", "mix")}
    np.testing.assert_array_equal(Panel(tables, SPECIALISTS, TASKS).drawn_averages(100, 0), 0)


def test_draws_scatter_around_the_averages() -> None:
    found = panel()
    drawn = found.drawn_averages(5000, 1)
    assert drawn.shape == (5000, 3)
    for column, average in zip(drawn.T, found.averages().values(), strict=True):
        assert column.mean() == pytest.approx(average.mean, abs=0.02)


def test_linearized_error_of_the_mean_ratio() -> None:
    """The draws' spread equals the delta method's for the ratio of two means."""
    generator = np.random.default_rng(3)
    base, other = generator.random(400) + 1, generator.random(400) + 0.5
    tables = {"gen": scores(list(base), [1.0]), "sum": scores([1.0] * 400, [1.0]), "mix": scores(list(other), [1.0])}
    drawn = Panel(tables, SPECIALISTS, TASKS).drawn_averages(4000, 0)[:, 2]
    ratio = other.mean() / base.mean()
    deviation = (other - ratio * base).std() / base.mean() / np.sqrt(400) / 2  # one of two metrics moves
    assert drawn.std() == pytest.approx(deviation, rel=0.05)
