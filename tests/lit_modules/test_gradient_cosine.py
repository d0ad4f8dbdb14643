from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from src.data.table import TokenTable
from src.lit_modules.callbacks.gradient_cosine import GradientCosine
from src.lit_modules.options import OptimizerOptions
from src.utils.errors import UserError
from tests.lit_modules import fitting, tiny

ROWS = {"a": tiny.rows("a", 8), "b": tiny.rows("b", 6, length=4), "c": tiny.rows("c", 5)}
TABLES = tiny.tables(ROWS)


def run(place: Path, network: torch.nn.Module, *callbacks: L.Callback) -> list[dict[str, Any]]:
    short = tiny.batches(2, 6, steps=5)
    fitting.run(place, network, train=ROWS, validation={}, optimizer=OptimizerOptions(1e-2), batches=short,
                callbacks=callbacks)  # fmt: skip
    return fitting.metrics(place)


def gradient(network: torch.nn.Module, table: TokenTable) -> torch.Tensor:
    """Of the mean answer-token loss, row by row with the model's own loss."""
    network.zero_grad()
    for index in range(len(table)):
        tokens, labels = (torch.from_numpy(array.astype("int64"))[None] for array in table.row(index))
        count = (labels != -100).sum()
        (network(input_ids=tokens, labels=labels).loss * count / table.answer_lengths.sum()).backward()
    return torch.cat([parameter.grad.flatten() for parameter in network.parameters()])


def test_cosines_equal_those_of_gradients_by_hand(tmp_path: Path) -> None:
    first, *_ = run(tmp_path, tiny.network(), GradientCosine(2, rows=100))
    network = tiny.network()
    by_hand = {task: gradient(network, table) for task, table in TABLES.items()}
    for one, other in (("a", "b"), ("a", "c"), ("b", "c")):
        expected = torch.cosine_similarity(by_hand[one], by_hand[other], dim=0).item()
        assert first[f"gradients/cosine_{one}_{other}"] == pytest.approx(expected, abs=1e-4)
    assert first["gradients/norm_a"] == pytest.approx(by_hand["a"].norm().item(), rel=1e-4)


def test_it_is_measured_before_every_second_step_and_changes_nothing(tmp_path: Path) -> None:
    plain, watched = tiny.network(), tiny.network()
    quiet = run(tmp_path / "plain", plain)
    rows = run(tmp_path / "watched", watched, GradientCosine(2, rows=3))
    assert [row["step"] for row in rows if "gradients/norm_a" in row] == [0, 2, 4]
    losses = [[row["train/loss"] for row in found if "train/loss" in row] for found in (quiet, rows)]
    assert losses[0] == losses[1]
    for name, value in plain.state_dict().items():
        assert torch.equal(value, watched.state_dict()[name])


def test_losses_of_each_task_add_up(tmp_path: Path) -> None:
    """The loss of a step is the mean of the tasks' losses, weighted by their answer tokens in its batch."""

    class Counting(L.Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            counts[trainer.global_step] = dict(zip(TABLES, batch["task_tokens"], strict=True))

    counts = dict[int, dict[str, int]]()
    rows = run(tmp_path, tiny.network(), Counting())
    assert [row["step"] for row in rows] == list(counts) == [1, 2, 3, 4, 5]
    for row in rows:
        tokens = {task: count for task, count in counts[row["step"]].items() if count}
        assert {task for task in TABLES if f"train/{task}/loss" in row} == set(tokens)
        total = sum(row[f"train/{task}/loss"] * count for task, count in tokens.items())
        assert row["train/loss"] == pytest.approx(total / sum(tokens.values()), rel=1e-6)
        assert row["train/perplexity"] == pytest.approx(math.exp(row["train/loss"]), rel=1e-6)


def test_one_task_has_no_angle(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"callbacks.gradient_cosine .*strategy=mix"):
        fitting.run(tmp_path, tiny.network(), train={"a": ROWS["a"]}, callbacks=[GradientCosine(1)])
