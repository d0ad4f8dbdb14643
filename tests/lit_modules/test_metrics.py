"""Loss, perplexity and accuracy by task: numbers worked out by hand, and the same from two processes as from one."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
import torch

from src.lit_modules.loss import token_losses, token_losses_and_hits
from src.lit_modules.metrics import TaskMetrics
from src.lit_modules.options import TrainerOptions
from src.lit_modules.world import connected
from src.stages.train.launch import run_ranks
from tests.lit_modules import tiny

ROOT = Path(__file__).resolve().parents[2]
# task, losses and hits of each batch; the third task has no token on the second rank
BATCHES = [
    (0, [1.0, 3.0], [1, 0]),
    (1, [2.0], [1]),
    (2, [0.5], [0]),
    (0, [5.0], [0]),
    (1, [4.0, 6.0], [1, 0]),
    (2, [], []),
]


def measured(rank: int, ranks: int) -> dict[str, float]:
    metrics = TaskMetrics(("a", "b", "c"))
    share = len(BATCHES) // ranks
    for task, losses, hits in BATCHES[rank * share : (rank + 1) * share]:
        metrics.update(task, torch.tensor(losses), torch.tensor(hits))
    return {name: float(value) for name, value in metrics.compute().items()}


def write(place: str, rank: int) -> None:
    """Called in each of two processes."""
    with connected(TrainerOptions()):
        Path(place, f"{rank}.json").write_text(json.dumps(measured(rank, 2)))


def test_averages_are_per_answer_token() -> None:
    found = measured(0, 1)
    assert {name: value for name, value in found.items() if name.endswith("loss")} == {
        "a/loss": 3.0, "b/loss": 4.0, "c/loss": 0.5, "all/loss": 21.5 / 7,
    }  # fmt: skip
    assert found["b/accuracy"] == pytest.approx(2 / 3)
    assert found["all/accuracy"] == pytest.approx(3 / 7)
    assert found["a/perplexity"] == pytest.approx(math.exp(3))
    assert found["all/perplexity"] == pytest.approx(math.exp(21.5 / 7))  # not the mean of the tasks' perplexities


@pytest.mark.slow
def test_two_processes_give_what_one_gives(tmp_path: Path) -> None:
    line = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import os, tests.lit_modules.test_metrics as t"
    run_ranks([sys.executable, "-c", f"{line}; t.write({str(tmp_path)!r}, int(os.environ['RANK']))"], 2)
    for rank in (0, 1):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == measured(0, 1)


def test_hits_are_those_of_the_most_probable_token() -> None:
    network = tiny.network()
    ids = torch.arange(40, 60)[None]
    with torch.no_grad():
        logits = network(ids).logits[0, :-1]
    targets = torch.where(torch.arange(19) % 3 == 0, logits.argmax(dim=-1), ids[0, 1:])
    micro = {"inputs": {"input_ids": ids}, "picked": torch.arange(19), "targets": targets}
    losses, hits = token_losses_and_hits(network, micro)
    assert hits.tolist() == [float(value) for value in logits.argmax(dim=-1) == targets]
    assert torch.equal(losses, token_losses(network, micro))
    assert hits.sum() >= 7
