from __future__ import annotations

import numpy as np

from src.data.collate import Row, empty_row, flat_batch, padded_batch


def row(task: int, tokens: list[int], prompt: int) -> Row:
    labels = np.array([-100] * prompt + tokens[prompt:])
    return Row(task, np.array(tokens, np.int32), labels)


LONG, SHORT = row(0, [1, 2, 3, 4], 2), row(1, [5, 6], 1)


def test_padded_rows_by_hand() -> None:
    batch = padded_batch([[LONG], [SHORT]], pad_token=9)
    assert batch["inputs"]["input_ids"].tolist() == [[1, 2, 3, 4], [5, 6, 9, 9]]
    assert batch["inputs"]["logits_to_keep"].tolist() == [0, 1, 2]  # columns that predict something in some row
    assert set(batch["inputs"]) == {"input_ids", "logits_to_keep"}
    assert batch["picked"].tolist() == [1, 2, 3]  # of the 2 x 3 projected places
    assert batch["targets"].tolist() == [3, 4, 6]
    assert batch["tasks"].tolist() == [0, 0, 1]


def test_lines_of_packs_by_hand() -> None:
    batch = padded_batch([[SHORT, LONG], [SHORT]], pad_token=9, packed=True)
    assert batch["inputs"]["input_ids"].tolist() == [[5, 6, 1, 2, 3, 4], [5, 6, 9, 9, 9, 9]]
    # the padding is a document of its own
    assert batch["inputs"]["position_ids"].tolist() == [[0, 1, 0, 1, 2, 3], [0, 1, 0, 1, 2, 3]]
    assert batch["targets"].tolist() == [6, 3, 4, 6]
    assert batch["tasks"].tolist() == [1, 0, 0, 1]


def test_one_flat_line_by_hand() -> None:
    batch = flat_batch([SHORT, LONG])
    inputs = batch["inputs"]
    assert inputs["input_ids"].tolist() == [[5, 6, 1, 2, 3, 4]]
    assert inputs["position_ids"].tolist() == [[0, 1, 0, 1, 2, 3]]
    assert inputs["cu_seq_lens_q"].tolist() == inputs["cu_seq_lens_k"].tolist() == [0, 2, 6]
    assert inputs["max_length_q"] == inputs["max_length_k"] == 4
    assert inputs["logits_to_keep"].tolist() == [0, 3, 4]  # never across a border
    assert batch["picked"].tolist() == [0, 1, 2]
    assert batch["targets"].tolist() == [6, 3, 4]


def test_a_micro_batch_without_rows() -> None:
    batch = flat_batch([empty_row(7)])
    assert batch["inputs"]["input_ids"].tolist() == [[7]]
    assert len(batch["targets"]) == len(batch["inputs"]["logits_to_keep"]) == 0
