from __future__ import annotations

from pathlib import Path

import pytest

from src.lit_modules.options import CheckpointOptions, OptimizerOptions
from tests.lit_modules import tiny
from tests.lit_modules.fitting import HELD_OUT, TRAIN, assert_equal_weights, run, values

OPTIONS = CheckpointOptions(select="best", validate_every=2, patience=2, every_seconds=None)
OVERFIT = {"optimizer": OptimizerOptions(5e-2), "batches": tiny.batches(3, 9, steps=60)}
ROWS = {"train": {"a": TRAIN["a"]}, "validation": {"a": HELD_OUT["b"]}}


def test_a_run_ends_when_its_loss_no_longer_falls_and_stays_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = tiny.network()
    result = run(tmp_path, network, checkpoints=OPTIONS, **OVERFIT, **ROWS)
    losses = {int(step): found["a"] for step, found in result.validation.items()}
    best = min(losses, key=lambda step: losses[step])
    assert result.stopped_early
    assert (result.selected_step, result.cost.steps, max(losses)) == (best, best + 4, best + 4)
    assert list(losses) == list(range(2, best + 5, 2))
    assert losses == values(tmp_path, "val/a/loss")
    assert f"stopped early after step {best + 4} of 60: val/a/loss has not fallen" in " ".join(
        capsys.readouterr().err.split()
    )
    again = tiny.network(1)  # killed between the last step and the export
    resumed = run(tmp_path, again, checkpoints=OPTIONS, **OVERFIT, **ROWS)
    assert (resumed.cost.steps, resumed.selected_step, resumed.stopped_early) == (best + 4, best, True)
    assert_equal_weights(network, again)


def test_a_small_fall_does_not_count(tmp_path: Path) -> None:
    """A loss of nats cannot fall by a hundred: the first validation stays the best one for patience."""
    options = CheckpointOptions(select="best", validate_every=2, patience=2, min_delta=100.0, every_seconds=None)
    result = run(tmp_path, tiny.network(), checkpoints=options, **OVERFIT, **ROWS)
    assert (result.cost.steps, result.stopped_early) == (6, True)


def test_a_run_whose_loss_falls_to_the_end_is_not_stopped(tmp_path: Path) -> None:
    rows = {"train": {"a": TRAIN["a"]}, "validation": {"a": TRAIN["a"]}}
    settings = {"optimizer": OptimizerOptions(1e-3), "batches": tiny.batches(3, 9, steps=6)}
    result = run(tmp_path, tiny.network(), checkpoints=OPTIONS, **settings, **rows)
    assert (result.cost.steps, result.selected_step, result.stopped_early) == (6, 6, False)
