"""Stopped in every way, a run goes on as if it had not been."""

from __future__ import annotations

import os
import resource
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from src.lit_modules.callbacks.checkpoint import ResumeCheckpoints
from src.lit_modules.options import CheckpointOptions, OptimizerOptions
from src.lit_modules.trainer import interruptible
from src.utils.errors import Interrupted, Stopped, UserError
from tests.forked import Forked
from tests.lit_modules import tiny
from tests.lit_modules.fitting import assert_equal_weights, measured, metrics, noisy, run, values


def test_killed_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    """Sampler, dropout, accumulation (two micro-batches a step), optimizer, schedule, and all that is recorded."""
    whole = noisy()
    expected = run(tmp_path / "whole", whole, **measured(tiny.network(), tmp_path / "base"))
    assert values(tmp_path / "whole", "train/loss")[2] != losses_without_dropout(tmp_path / "plain")[2]
    for step in (8, 13):  # goes on from step 6 and 12: both were validated before they were saved
        assert Forked(killed_run, tmp_path / "killed", step).wait(timeout=120) == -signal.SIGKILL
    resumed = noisy(seed=99)  # the weights come from the checkpoint
    result = run(tmp_path / "killed", resumed, **measured(tiny.network(), tmp_path / "base"))
    assert_equal_weights(whole, resumed)
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "whole")
    assert result.losses == expected.losses
    assert (result.cost.steps, result.cost.answer_tokens) == (expected.cost.steps, expected.cost.answer_tokens)


def killed_run(work_dir: Path, step: int) -> None:
    """Called in a process of its own: kills itself with SIGKILL once the rows of a step are written."""

    def kill(row: dict[str, Any]) -> None:
        if row["step"] == step:
            os.kill(os.getpid(), signal.SIGKILL)

    run(work_dir, noisy(), **measured(tiny.network(), work_dir / "base"), on_record=kill)


def losses_without_dropout(work_dir: Path) -> dict[int, float]:
    run(work_dir, tiny.network(), batches=tiny.batches(2, 4, steps=3))
    return values(work_dir, "train/loss")


def test_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    first = run(tmp_path, one := tiny.network())
    lines = metrics(tmp_path)
    again = run(tmp_path, other := tiny.network(seed=99))
    assert_equal_weights(one, other)
    assert (again, metrics(tmp_path)) == (first, lines)


def test_checkpoints_are_kept_by_number_and_a_half_written_one_is_no_checkpoint(tmp_path: Path) -> None:
    run(tmp_path, one := tiny.network())
    folder = tmp_path / "checkpoints"
    assert [path.name for path in sorted(folder.iterdir())] == ["step-00000015.ckpt", "step-00000018.ckpt"]
    (folder / ".saving-00000021.ckpt").write_bytes(b"torn")
    (folder / "step-00000018.ckpt").unlink()
    run(tmp_path, other := tiny.network(seed=99))
    assert_equal_weights(one, other)
    assert [path.name for path in sorted(folder.iterdir())] == ["step-00000015.ckpt", "step-00000018.ckpt"]


def test_slow_saves_are_rare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A save of 60 seconds, at most a twentieth of the time: the next one is due after 20 minutes, not after 10."""
    saver = ResumeCheckpoints(tmp_path, CheckpointOptions(every_seconds=600.0), lambda: None)
    trainer: Any = SimpleNamespace(
        global_step=1, strategy=SimpleNamespace(reduce_boolean_decision=lambda due, all: due)
    )
    found = []
    for cost, waited in ((1.0, 599.0), (1.0, 601.0), (60.0, 601.0), (60.0, 1199.0), (60.0, 1201.0)):
        saver._cost, saver._last_time = cost, 0.0
        monkeypatch.setattr("src.lit_modules.callbacks.checkpoint.time.monotonic", lambda waited=waited: waited)
        found.append(saver._is_due(trainer))
    assert found == [False, True, False, False, True]


def test_checkpoints_by_time(tmp_path: Path) -> None:
    options = CheckpointOptions(every_steps=None, every_seconds=0.0, keep=100, max_share=1.0)
    run(tmp_path, tiny.network(), checkpoints=options, batches=tiny.batches(2, 4, steps=4))
    assert len(list((tmp_path / "checkpoints").iterdir())) == 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_asked_to_end_saves_first_and_goes_on_bit_for_bit(tmp_path: Path, number: int) -> None:
    whole, asked = noisy(), noisy()
    before = signal.getsignal(number)
    run(tmp_path / "whole", whole)

    def ask(row: dict[str, Any]) -> None:
        if row["step"] == 4 and "train/loss" in row:
            os.kill(os.getpid(), number)

    never = CheckpointOptions(every_seconds=None, validate_every=6)
    with pytest.raises(Interrupted) as caught:
        run(tmp_path / "asked", asked, on_record=ask, checkpoints=never)
    assert caught.value.number == number
    assert signal.getsignal(number) is before
    assert [path.name for path in (tmp_path / "asked" / "checkpoints").iterdir()] == ["step-00000004.ckpt"]
    again = noisy(seed=1)
    run(tmp_path / "asked", again, checkpoints=never)
    assert_equal_weights(again, whole)
    assert metrics(tmp_path / "asked") == metrics(tmp_path / "whole")


def test_ctrl_c_is_no_silent_exit() -> None:
    """Lightning turns it into one."""
    with pytest.raises(Interrupted) as caught, interruptible():
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)
    assert caught.value.number == signal.SIGINT
    with pytest.raises(SystemExit), interruptible():
        sys.exit(3)


def test_a_request_in_the_last_step_is_heard_too(tmp_path: Path) -> None:
    """Another run may be next."""

    def ask(row: dict[str, Any]) -> None:
        if row["step"] == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    short = tiny.batches(2, 4, steps=3)
    with pytest.raises(Interrupted):
        run(tmp_path, tiny.network(), batches=short, on_record=ask)
    assert list(values(tmp_path, "train/loss")) == [1, 2, 3]
    assert run(tmp_path, tiny.network(seed=9), batches=short).cost.steps == 3


def test_saving_is_no_part_of_what_training_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that saving alone moves."""
    now = [0.0]
    monkeypatch.setattr("src.lit_modules.callbacks.cost.time.perf_counter", lambda: now[0])
    monkeypatch.setattr(
        "src.lit_modules.callbacks.checkpoint.ResumeCheckpoints._save", lambda self, trainer: now.insert(0, now[0] + 5)
    )
    result = run(tmp_path, tiny.network(), checkpoints=CheckpointOptions(every_steps=1))
    assert now[0] > 5
    assert result.cost.seconds == 0


def test_every_rank_takes_its_own_random_state_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saver = ResumeCheckpoints(tmp_path, CheckpointOptions(), lambda: None)
    mine = saver.state_dict()["ranks"]
    assert len(mine) == 1
    other = {**mine[0], "python": "another"}
    for number, expected in {"0": mine[0], "1": other, "2": mine[0]}.items():  # the third had no state of its own
        monkeypatch.setenv("RANK", number)
        saver.load_state_dict({"ranks": [mine[0], other]})
        assert saver._random is expected


def test_failed_save_leaves_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import lightning as L

    save, calls = L.Trainer.save_checkpoint, list[Path]()

    def fail_second(self: L.Trainer, filepath: Path, **options: Any) -> None:
        calls.append(filepath)
        if len(calls) == 2:
            filepath.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        save(self, filepath, **options)

    run(tmp_path / "whole", one := tiny.network())
    with monkeypatch.context() as patch:
        patch.setattr(L.Trainer, "save_checkpoint", fail_second)
        with pytest.raises(UserError, match=r"cannot save a checkpoint in .*: No space left.*the previous one is kept"):
            run(tmp_path / "full", tiny.network())
    run(tmp_path / "full", other := tiny.network(seed=99))
    assert_equal_weights(one, other)


def test_a_full_disk_is_one_line_and_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    """The system itself refuses to write: no file may grow beyond 20 kB from step 5 on."""
    run(tmp_path / "whole", one := tiny.network())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(row: dict[str, Any]) -> None:
        if row["step"] == 5:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))

    try:
        with pytest.raises(Stopped, match=r"cannot save a checkpoint in .*: File too large; the previous one is kept"):
            run(tmp_path / "full", tiny.network(), on_record=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    folder = tmp_path / "full" / "checkpoints"
    assert "step-00000003.ckpt" in [path.name for path in folder.iterdir()]
    run(tmp_path / "full", other := tiny.network(seed=99))
    assert_equal_weights(one, other)
    assert metrics(tmp_path / "full") == metrics(tmp_path / "whole")
    assert [path.name for path in sorted(folder.iterdir())] == ["step-00000015.ckpt", "step-00000018.ckpt"]


def test_best_by_validation_loss(tmp_path: Path) -> None:
    """A rate so high that training diverges: the best weights are not the last."""
    network = tiny.network()
    options = CheckpointOptions(every_steps=100, select="best", keep=1, validate_every=2)
    result = run(tmp_path, network, optimizer=OptimizerOptions(0.3, clip_norm=0.0), checkpoints=options)
    losses = values(tmp_path, "val/all/loss")
    best = min(losses, key=lambda step: losses[step])
    assert result.selected_step == best < result.cost.steps
    assert result.losses["all"] == losses[best]
    again = run(tmp_path, other := tiny.network(seed=9), optimizer=OptimizerOptions(0.3, clip_norm=0.0),
                checkpoints=options)  # fmt: skip
    assert again == result
    assert_equal_weights(network, other)
