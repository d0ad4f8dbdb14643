"""Kills, full disks, damage and races of run directories."""

import errno
import json
import os
import shutil
import threading

import pytest

from src.runs import record
from src.runs.finished import open_finished
from src.runs.lock import Busy, wait_for_other_processes, waiting_for_others
from src.runs.record import begin_run, open_run, work_directory
from src.utils.errors import UserError
from src.utils.files import atomic_open


def begin(place, **config):
    return begin_run(place, stage="train", config=config)


def killed(*_, **__):
    raise KeyboardInterrupt


def trained(run):
    """The state of a training whose last step is saved."""
    (run.scratch / "checkpoints").mkdir()
    (run.scratch / "checkpoints" / "step-00000003.ckpt").write_text("weights")
    (run.work / "model.safetensors").write_text("exported")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_failure_of_any_form_keeps_the_work(tmp_path, number):
    for error in (OSError(number, "disk"), Exception(f"disk (os error {number})"), UserError("cannot write")):
        place = tmp_path / type(error).__name__
        with pytest.raises(type(error)), open_run(place, stage="train", config={}) as run:
            trained(run)
            raise error from OSError(number, "disk")
        assert (work_directory(place) / ".scratch" / "checkpoints" / "step-00000003.ckpt").exists()


def test_bad_input_at_the_end_of_a_training_keeps_its_checkpoints(tmp_path):
    with pytest.raises(UserError), open_run(tmp_path / "run", stage="train", config={}) as run:
        trained(run)
        raise UserError("found after hours")
    assert (work_directory(tmp_path / "run") / ".scratch" / "checkpoints" / "step-00000003.ckpt").exists()


def test_a_kill_before_the_rename_keeps_the_checkpoints_and_the_next_command_publishes(tmp_path, monkeypatch):
    place = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(record, "_publish", killed)
        with pytest.raises(KeyboardInterrupt), open_run(place, stage="train", config={}) as run:
            trained(run)
            run.results["loss"] = 0.5
    assert (work_directory(place) / ".scratch" / "checkpoints" / "step-00000003.ckpt").exists()
    found = begin(place)
    assert found.finished
    assert found.results == {"loss": 0.5}
    assert sorted(path.name for path in place.iterdir()) == ["model.safetensors", "run.json"]
    assert open_finished(place).outputs.keys() == {"model.safetensors"}
    assert not work_directory(place).exists()


def test_a_kill_between_hashing_and_the_record_keeps_the_checkpoints(tmp_path, monkeypatch):
    place = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(record, "hash_files", killed)
        with pytest.raises(KeyboardInterrupt), open_run(place, stage="train", config={}) as run:
            trained(run)
    with open_run(place, stage="train", config={}) as again:
        assert (again.scratch / "checkpoints" / "step-00000003.ckpt").exists()


def test_a_kill_after_the_rename_leaves_nothing_for_good(tmp_path, monkeypatch):
    place = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt), open_run(place, stage="train", config={}) as run:
            trained(run)
    assert (place / ".scratch").exists()
    assert begin(place).finished
    assert not (place / ".scratch").exists()


def test_temporaries_of_a_killed_attempt_are_not_published(tmp_path):
    place = tmp_path / "run"
    with pytest.raises(RuntimeError), open_run(place, stage="merge", config={}) as run:
        (run.work / "config.json").write_text("{}")
        with atomic_open(run.work / "config.json") as file:
            file.write("{")
            [path] = run.work.glob(".config.json*")
            os.link(path, run.work / path.name.replace(".json.", ".json.killed-"))  # as `kill -9` leaves it
        raise RuntimeError
    with open_run(place, stage="merge", config={}):
        pass
    assert sorted(path.name for path in place.iterdir()) == ["config.json", "run.json"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("null"),
        lambda path: path.write_text("[" * 100_000),
        lambda path: path.write_bytes(path.read_bytes()[:-40] + bytes(40)),
        lambda path: path.write_text(path.read_text().replace('"loss": 0.5', '"loss": 0.1')),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: (path.unlink(), path.symlink_to("nowhere")),
    ],
    ids=["truncated", "empty", "null", "deep", "zeros", "edited", "directory", "dangling"],
)
@pytest.mark.parametrize("finished", [True, False])
def test_a_damaged_record_is_one_line_with_its_name(tmp_path, damage, finished):
    place = tmp_path / "run"
    run = begin(place, loss=0.5)
    if finished:
        run.results["loss"] = 0.5
        run.finish()
    run.release()
    directory = place if finished else work_directory(place)
    damage(directory / "run.json")
    with pytest.raises(UserError, match=r"run\.json"):
        begin(place, loss=0.5)
    assert (directory / "run.json").is_symlink() or (directory / "run.json").exists()  # nothing was removed


@pytest.mark.parametrize("size", [10, 1 << 24])
def test_edited_files_are_refused_even_with_their_old_time(tmp_path, size):
    with open_run(tmp_path / "run", stage="evaluate", config={}) as run:
        (run.work / "items.csv").write_bytes(bytes(size))
    path = tmp_path / "run" / "items.csv"
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"1")
    if size < 1 << 24:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    for use in (
        lambda: open_finished(tmp_path / "run"),
        lambda: begin_run(tmp_path / "run", stage="evaluate", config={}),
    ):
        with pytest.raises(UserError, match=r"items\.csv has changed"):
            use()


def test_a_record_by_hand_needs_no_digest(tmp_path):
    with open_run(tmp_path / "run", stage="evaluate", config={}) as run:
        run.results["note"] = "a"
    written = json.loads((tmp_path / "run" / "run.json").read_text())
    del written["sha256"]
    written["results"]["note"] = "b"
    (tmp_path / "run" / "run.json").write_text(json.dumps(written))
    assert open_finished(tmp_path / "run").results == {"note": "b"}


def test_a_run_that_is_being_written_is_said_or_waited_for(tmp_path, monkeypatch):
    place = tmp_path / "run"
    first = begin(place)
    with pytest.raises(Busy, match="another process is writing"):
        begin(place)
    found = []

    def wait():
        with open_run(place, stage="train", config={}) as run:
            found.append(run.finished)

    with waiting_for_others():
        waiting = threading.Thread(target=wait)
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        first.finish()
        waiting.join(10)
    assert found == [True]
    monkeypatch.setattr("src.runs.lock._patient", False)  # restored after the test
    wait_for_other_processes()
    with open_run(place, stage="train", config={}) as run:
        assert run.finished


def test_one_that_waits_takes_over_what_another_has_abandoned(tmp_path):
    first = begin(tmp_path / "run")
    threading.Timer(0.2, first.abandon).start()
    with waiting_for_others(), open_run(tmp_path / "run", stage="train", config={}) as run:
        assert not run.finished
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
