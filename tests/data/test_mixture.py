from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from src.data.mixture import MixOptions, Mixture, fraction_of, rows_per_epoch
from src.data.table import Part, TokenTable
from src.utils.errors import UserError


def table(count: int, length: int = 2) -> TokenTable:
    return TokenTable.build([str(i) for i in range(count)], [[0] * length] * count, [1] * count)


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


def test_stream_continues_over_epochs_and_starts_anywhere() -> None:
    mixture = Mixture({"a": table(5), "b": table(7)}, seed=3, counts=[7, 3])
    whole = np.concatenate([mixture.epoch(epoch) for epoch in range(4)])
    assert np.array_equal(mixture.stream(0, 40), whole)
    assert np.array_equal(mixture.stream(3, 24), whole[3:24])
    assert np.array_equal(mixture.stream(17, 19), whole[17:19])
    assert len(mixture.stream(4, 4)) == 0
    assert mixture.stream_lengths(5).tolist() == [2] * 5


def test_what_has_been_drawn_of_each_task() -> None:
    mixture = Mixture({"a": table(5, 2), "b": table(7, 3)}, seed=3, counts=[10, 7])
    assert mixture.drawn(34) == {"a": {"rows": 20, "tokens": 40}, "b": {"rows": 14, "tokens": 42}}
    part = mixture.drawn(9)
    rows = [mixture.locate(row)[0] for row in mixture.stream(0, 9)]
    assert part == {
        "a": {"rows": rows.count(0), "tokens": 2 * rows.count(0)},
        "b": {"rows": rows.count(1), "tokens": 3 * rows.count(1)},
    }


def test_repeated_and_chosen_rows_are_spread_evenly() -> None:
    """7 of 5 rows per epoch: every row once and two of them twice; 3 of 7: over seven epochs each row three times."""
    mixture = Mixture({"a": table(5), "b": table(7)}, seed=0, counts=[7, 3])
    epochs = [mixture.epoch(epoch) for epoch in range(7)]
    assert all(np.bincount(epoch[epoch < 5], minlength=5).min() == 1 for epoch in epochs)
    assert all((epoch < 5).sum() == 7 for epoch in epochs)
    counts = np.bincount(np.concatenate(epochs), minlength=12)
    assert counts[5:].tolist() == [3] * 7
    assert counts[:5].max() - counts[:5].min() <= 1


def weighted(*parts: tuple[int, float]) -> TokenTable:
    return replace(table(sum(rows for rows, _ in parts)), parts=tuple(Part(*part) for part in parts))


def test_sources_with_weights_by_hand() -> None:
    """4 rows twice per epoch, 6 rows every other epoch, beside a task without weights."""
    tables = {"a": weighted((4, 2.0), (6, 0.5)), "b": table(3)}
    assert rows_per_epoch(tables, MixOptions()) == [11, 3]
    mixture = Mixture(tables, seed=1)
    assert len(mixture) == 14
    for epoch in range(3):
        counts = np.bincount(mixture.epoch(epoch), minlength=13)
        assert counts[:4].tolist() == [2] * 4
        assert counts[4:10].sum() == 3
        assert counts[10:].tolist() == [1] * 3
    both = np.concatenate([mixture.epoch(0), mixture.epoch(1)])
    assert np.bincount(both, minlength=13)[4:10].tolist() == [1] * 6


def test_weights_divide_the_share_of_their_task() -> None:
    tables = {"a": weighted((4, 2.0), (6, 0.5)), "b": table(11)}
    counts = rows_per_epoch(tables, MixOptions(ratio=0.75))
    assert counts == [16, 6]  # of 22; 17 and 5 would be 0.77
    found = np.bincount(Mixture(tables, 0, [22, 0]).epoch(0), minlength=21)
    assert (found[:4].sum(), found[4:10].sum(), found[10:].sum()) == (16, 6, 0)
    with pytest.raises(UserError, match=r"mix\.cap=2\.0 limits repetitions"):
        rows_per_epoch(tables, MixOptions(cap=2))


@pytest.mark.parametrize(
    ("options", "counts"),
    [
        ({}, [80, 20]),  # natural proportions
        ({"ratio": 0.5}, [50, 50]),
        ({"ratio": 0.1}, [10, 90]),
        ({"ratios": {"a": 1, "b": 3}}, [25, 75]),
        ({"temperature": 2.0}, [67, 33]),  # roots of 80 and 20 are as 2 to 1
        ({"temperature": float("inf")}, [50, 50]),
        ({"ratio": 0.5, "cap": 2}, [40, 40]),  # 50 of 20 rows would be 2.5 passes
        ({"ratio": 0.5, "by": "tokens"}, [70, 14]),  # rows of b are five times as long: 140 of 280 tokens each
    ],
)
def test_rows_of_an_epoch_by_hand(options: dict[str, Any], counts: list[int]) -> None:
    tables = {"a": table(80, 2), "b": table(20, 10 if "by" in options else 2)}
    if "by" in options:
        tables["a"] = table(40, 2)  # 80 tokens and 200
    assert rows_per_epoch(tables, MixOptions(**options)) == counts


def test_a_specialist_has_nothing_to_mix() -> None:
    assert rows_per_epoch({"a": table(7)}, MixOptions(ratio=0.3)) == [7]


def test_others_share_the_rest() -> None:
    tables = {name: table(10) for name in "abc"}
    assert rows_per_epoch(tables, MixOptions(ratio=0.4)) == [12, 9, 9]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "rows"}, "unknown mix.by 'rows'.*examples, tokens"),
        ({"ratio": 1.0}, "mix.ratio must be below 1, got 1.0"),
        ({"ratio": 0.5, "temperature": 2.0}, "one of mix.ratio, mix.ratios and mix.temperature"),
        ({"ratios": {"a": 0}}, "mix.ratios.a must be above 0, got 0"),
        ({"temperature": 0.0}, "mix.temperature must be above 0, got 0.0"),
        ({"cap": 0}, "mix.cap must be above 0, got 0"),
    ],
)
def test_bad_proportions(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        MixOptions(**options)


def test_ratios_name_the_tasks() -> None:
    with pytest.raises(UserError, match=r"mix.ratios names a, c; expected a, b"):
        rows_per_epoch({"a": table(1), "b": table(1)}, MixOptions(ratios={"a": 1, "c": 1}))


def test_fractions_are_nested_and_keep_the_order() -> None:
    whole = table(40)
    parts = {share: [int(name) for name in fraction_of(whole, share, "a", 0).ids] for share in (0.25, 0.5, 1.0)}
    assert [len(ids) for ids in parts.values()] == [10, 20, 40]
    assert set(parts[0.25]) < set(parts[0.5]) < set(parts[1.0])
    assert all(ids == sorted(ids) for ids in parts.values())
    assert parts[0.25] != list(range(10))
    assert fraction_of(whole, 1.0, "a", 0) is whole
    with pytest.raises(UserError, match=r"data.fraction must be above 0 and at most 1, got 0"):
        fraction_of(whole, 0, "a", 0)
