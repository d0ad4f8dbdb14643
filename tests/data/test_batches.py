from __future__ import annotations

import numpy as np
import torch

from src.data.batches import BatchShape, StepBatches, collate, sorted_groups, validation_batches
from src.data.mixture import Mixture
from src.data.table import TokenTable

LENGTHS = [3, 9, 4, 7, 5, 8, 6, 2, 3, 4, 11]
ROWS = [[10 * i + t for t in range(length)] for i, length in enumerate(LENGTHS)]
TABLE = TokenTable.build([f"r{i}" for i in range(len(ROWS))], ROWS, [1] * len(ROWS))


def steps(shape: BatchShape, count: int | None = None, epochs: float | None = None) -> StepBatches:
    return StepBatches(Mixture({"a": TABLE}, seed=1), shape, count, epochs, pad_token=999)


def real_rows(batch: dict[str, torch.Tensor]) -> list[list[int]]:
    rows = [[int(token) for token in line if token != 999] for line in batch["input_ids"]]
    trained = (batch["labels"] != -100).any(dim=1)
    return [row for row, used in zip(rows, trained, strict=True) if used]


def test_collate_by_hand() -> None:
    rows = [
        (np.array([5, 6], np.int32), np.array([-100, 6])),
        (np.array([1, 2, 3], np.int32), np.array([-100, -100, 3])),
    ]
    batch = collate(rows, pad_token=0)
    assert batch["input_ids"].tolist() == [[5, 6, 0], [1, 2, 3]]
    assert batch["labels"].tolist() == [[-100, 6, -100], [-100, -100, 3]]
    assert batch["first"] == 1
    assert collate([(np.array([5, 6], np.int32), np.array([-100, -100]))], 0)["first"] == 2


def test_groups_are_runs_of_like_length() -> None:
    assert sorted_groups([5, 1, 4, 1, 3], 2) == [[1, 3, 4], [2, 0]]


def test_global_batch_is_the_same_on_any_number_of_ranks() -> None:
    """Eight rows as 1 rank x 4 x 2, 2 ranks x 2 x 2 and 4 ranks x 1 x 2: the same rows, tokens and counts."""
    expected = None
    for world, accumulation in ((1, 4), (2, 2), (4, 1)):
        parts = [steps(BatchShape(2, accumulation, world, rank), 5)[3] for rank in range(world)]
        rows = sorted(row for part in parts for micro in part["micro"] for row in real_rows(micro))
        counts = {(part["answer_tokens"], part["tokens"], part["padded"]) for part in parts}
        assert len(counts) == 1
        expected = expected or (rows, counts)
        assert (rows, counts) == expected
    assert len(rows) == 8


def test_an_epoch_gives_every_row_once_and_ranks_stay_in_step() -> None:
    seen = []
    for rank in range(2):
        run = steps(BatchShape(2, 2, 2, rank), epochs=1)
        assert len(run) == 2
        assert [len(run[k]["micro"]) for k in range(2)] == [2, 2]  # 8 rows, then 3
        seen += [row for k in range(2) for micro in run[k]["micro"] for row in real_rows(micro)]
    assert sorted(seen) == sorted(ROWS)


def test_counts_by_hand() -> None:
    batch = steps(BatchShape(11), 1)[0]
    assert batch["tokens"] == sum(LENGTHS)
    assert batch["answer_tokens"] == sum(LENGTHS) - 11
    assert batch["padded"] == 11 * 11


def test_sorting_inside_the_batch_saves_padding() -> None:
    batch = steps(BatchShape(2, 5), 1)[0]
    assert batch["padded"] <= batch["tokens"] + 8


def test_rows_are_named() -> None:
    assert sorted(steps(BatchShape(11), 1).row_names(0)) == sorted(f"a/r{i}" for i in range(11))


def test_validation_takes_every_row_once_on_any_number_of_ranks() -> None:
    for world in (1, 2, 4):
        parts = [validation_batches(TABLE, BatchShape(2, 1, world, rank), 999) for rank in range(world)]
        assert len({len(part) for part in parts}) == 1
        rows = sorted(row for part in parts for batch in part for row in real_rows(batch))
        assert rows == sorted(ROWS)
        assert all(len(batch["input_ids"]) <= 2 for part in parts for batch in part)
