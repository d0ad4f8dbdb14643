from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from src.data.batches import Layout, StepBatches, micro_batches, sorted_groups, validation_batches
from src.data.budget import Budget, step_starts
from src.data.mixture import Mixture
from src.data.table import TokenTable

LENGTHS = [3, 9, 4, 7, 5, 8, 6, 2, 3, 4, 11]
ROWS = [[10 * i + t for t in range(length)] for i, length in enumerate(LENGTHS)]
TABLE = TokenTable.build([f"r{i}" for i in range(len(ROWS))], ROWS, [1] * len(ROWS))
PAD = 999
LAYOUTS = {
    "rows": Layout(2),
    "flat packs": Layout(2, packing=True, max_length=12),
    "lines of packs": Layout(2, packing=True, max_length=12, flat=False),
}


def steps(layout: Layout, **budget: Any) -> StepBatches:
    mixture = Mixture({"a": TABLE}, seed=1)
    return StepBatches(mixture, step_starts(mixture, Budget(**budget)), layout, PAD)


def on_rank(layout: Layout, world: int, rank: int) -> Layout:
    return Layout(**{**vars(layout), "world": world, "rank": rank})


def targets(batches: list[dict[str, Any]]) -> list[int]:
    """All predicted tokens: every token of a row but its first."""
    return sorted(int(token) for batch in batches for token in batch["targets"])


def expected(rows: list[int]) -> list[int]:
    return sorted(token for row in rows for token in ROWS[row][1:])


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_a_step_is_the_same_on_any_number_of_ranks(layout: Layout) -> None:
    seen = []
    for world in (1, 2, 3, 4):
        parts = [steps(on_rank(layout, world, rank), batch_size=8, steps=5)[3] for rank in range(world)]
        assert len({len(part["micro"]) for part in parts}) == 1  # ranks stay in step
        keys = ("answer_tokens", "task_tokens", "tokens", "squares")
        counts = {str([part[key] for key in keys]) for part in parts}
        assert len(counts) == 1
        seen.append((targets([micro for part in parts for micro in part["micro"]]), counts))
    assert all(one == seen[0] for one in seen)
    assert len(seen[0][0]) == steps(layout, batch_size=8, steps=5)[3]["answer_tokens"]


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_an_epoch_gives_every_row_once(layout: Layout) -> None:
    run = [steps(on_rank(layout, 2, rank), batch_size=8, epochs=1) for rank in range(2)]
    assert len(run[0]) == 2  # 8 rows, then 3
    micro = [micro for step in range(2) for rank in run for micro in rank[step]["micro"]]
    assert targets(micro) == expected(list(range(11)))


def test_groups_have_similar_lengths() -> None:
    assert sorted_groups([5, 1, 4, 1, 3], 2) == [[1, 3, 4], [2, 0]]
    assert micro_batches([5, 1, 4, 1, 3], Layout(2, world=2)) == [
        [[[1], [3]], [[2]]],
        [[[4]], [[0]]],
    ]


def test_counts_by_hand() -> None:
    batch = steps(Layout(11), batch_size=11, steps=1)[0]
    assert batch["tokens"] == sum(LENGTHS)
    assert batch["answer_tokens"] == sum(LENGTHS) - 11
    assert batch["task_tokens"] == [sum(LENGTHS) - 11]
    assert batch["padded"] == 11 * 11
    assert batch["squares"] == sum(length**2 for length in LENGTHS)
    flat = steps(Layout(11, packing=True, max_length=12), batch_size=11, steps=1)[0]
    assert flat["padded"] == flat["tokens"]  # no padding at all
    lines = steps(Layout(11, packing=True, max_length=12, flat=False), batch_size=11, steps=1)[0]
    assert len(lines["micro"]) == 1
    assert lines["padded"] == lines["micro"][0]["inputs"]["input_ids"].numel()


def test_sorting_inside_the_batch_saves_padding() -> None:
    batch = steps(Layout(2), batch_size=10, steps=1)[0]
    assert batch["padded"] <= batch["tokens"] + 8


def test_rows_are_named() -> None:
    assert sorted(steps(Layout(11), batch_size=11, steps=1).row_names(0)) == sorted(f"a/r{i}" for i in range(11))


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_validation_takes_every_row_once_on_any_number_of_ranks(layout: Layout) -> None:
    for world in (1, 2, 4):
        parts = [validation_batches(TABLE, on_rank(layout, world, rank), PAD, 3) for rank in range(world)]
        assert len({len(part) for part in parts}) == 1
        batches = [batch for part in parts for batch in part]
        assert targets(batches) == expected(list(range(11)))
        assert {task for batch in batches for task in batch["tasks"].tolist()} == {3}


def test_tasks_are_counted_apart() -> None:
    mixture = Mixture({"a": TABLE, "b": TABLE.subset(np.arange(4))}, seed=0)
    run = StepBatches(mixture, step_starts(mixture, Budget(batch_size=15, epochs=1)), Layout(3), PAD)
    batch = run[0]
    assert batch["task_tokens"] == [sum(LENGTHS) - 11, sum(LENGTHS[:4]) - 4]
    counted = np.bincount(np.concatenate([micro["tasks"] for micro in batch["micro"]]))
    assert counted.tolist() == batch["task_tokens"]
