from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from src.data.table import TokenTable
from src.lit_modules.fit import fit
from src.lit_modules.options import OptimizerOptions, WatchOptions
from src.lit_modules.watch import Watched
from tests.lit_modules import tiny

TABLES = tiny.tables({"a": tiny.rows("a", 8), "b": tiny.rows("b", 6, length=4), "c": tiny.rows("c", 5)})


def run(place: Path, network: torch.nn.Module, watch: WatchOptions) -> list[dict[str, Any]]:
    fit(
        network, TABLES, {}, pad_token=tiny.PAD, work_dir=place, optimizer=OptimizerOptions(1e-2),
        batches=tiny.batches(2, 6, steps=5), watch=Watched(watch),
    )  # fmt: skip
    return [json.loads(line) for line in (place / "metrics.jsonl").read_text().splitlines()]


def gradient(network: torch.nn.Module, table: TokenTable) -> torch.Tensor:
    """Of the mean answer-token loss, row by row with the model's own loss."""
    network.zero_grad()
    for index in range(len(table)):
        tokens, labels = (torch.from_numpy(array.astype("int64"))[None] for array in table.row(index))
        count = (labels != -100).sum()
        (network(input_ids=tokens, labels=labels).loss * count / table.answer_lengths.sum()).backward()
    return torch.cat([parameter.grad.flatten() for parameter in network.parameters()])


def test_cosines_equal_those_of_gradients_by_hand(tmp_path: Path) -> None:
    first, *_ = run(tmp_path, tiny.network(), WatchOptions(gradient_cosine=2, gradient_rows=100))
    network = tiny.network()
    by_hand = {task: gradient(network, table) for task, table in TABLES.items()}
    for one, other in (("a", "b"), ("a", "c"), ("b", "c")):
        expected = torch.cosine_similarity(by_hand[one], by_hand[other], dim=0).item()
        assert first[f"gradient_cosine_{one}_{other}"] == pytest.approx(expected, abs=1e-4)
    assert first["gradient_norm_a"] == pytest.approx(by_hand["a"].norm().item(), rel=1e-4)


def test_it_is_measured_before_every_second_step_and_changes_nothing(tmp_path: Path) -> None:
    plain, watched = tiny.network(), tiny.network()
    quiet = run(tmp_path / "plain", plain, WatchOptions())
    rows = run(tmp_path / "watched", watched, WatchOptions(gradient_cosine=2, gradient_rows=3))
    assert [row["step"] for row in rows if row["split"] == "gradients"] == [0, 2, 4]
    losses = [[row["loss"] for row in found if row["split"] == "train"] for found in (quiet, rows)]
    assert losses[0] == losses[1]
    for name, value in plain.state_dict().items():
        assert torch.equal(value, watched.state_dict()[name])


def test_losses_of_each_task_add_up(tmp_path: Path) -> None:
    for row in run(tmp_path, tiny.network(), WatchOptions()):
        parts = [value for name, value in row.items() if name.startswith("loss_")]
        assert min(parts) <= row["loss"] <= max(parts)
