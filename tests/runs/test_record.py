import json
import multiprocessing
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from src.runs import record
from src.runs.finished import open_finished
from src.runs.lock import wait_for_other_processes
from src.runs.record import begin_run, open_run
from src.utils.errors import Stopped, UserError

CONFIG = {"steps": 3, "merge": {"method": "ties", "weight": 0.3}}


def finish(place, config=CONFIG, text="payload"):
    with open_run(
        place, stage="merge", config=config, inputs={"base": {"model.safetensors": "abc"}}, argv=["python", "merge.py"]
    ) as run:
        if not run.finished:
            (run.work / "table.csv").write_text(text)
            (run.scratch / "resume.bin").write_text("x")
            run.results["norm"] = 1.5
    return run


def test_a_finished_run_is_whole_and_recorded(tmp_path):
    place = tmp_path / "runs" / "one"
    finish(place)
    written = json.loads((place / "run.json").read_text())
    assert written["state"] == "finished"
    assert written["results"] == {"norm": 1.5}
    assert list(written["outputs"]) == ["table.csv"]
    assert written["inputs"] == {"base": {"model.safetensors": "abc"}}
    assert written["versions"]["torch"]
    assert sorted(path.name for path in place.iterdir()) == ["run.json", "table.csv"]


def test_an_equal_run_is_not_run_again(tmp_path):
    finish(tmp_path / "one")
    again = finish(tmp_path / "one", text="other")
    assert again.finished
    assert again.results == {"norm": 1.5}
    assert (tmp_path / "one" / "table.csv").read_text() == "payload"


def test_the_cost_is_that_of_all_attempts_on_all_devices(tmp_path, monkeypatch):
    place = tmp_path / "one"
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(RuntimeError), open_run(place, stage="train", config=CONFIG) as run:
        (run.scratch / "checkpoint").write_text("x")
        os.utime(run.scratch / "checkpoint", (time.time() + 100, time.time() + 100))  # 100 s later it was killed
        raise RuntimeError
    monkeypatch.setenv("WORLD_SIZE", "2")
    with open_run(place, stage="train", config=CONFIG) as run:
        run.finish(seconds=30.0)
    written = json.loads((place / "run.json").read_text())
    assert [attempt["processes"] for attempt in written["attempts"]] == [4, 2]
    assert written["attempts"][0]["seconds"] == pytest.approx(100, abs=1)
    assert written["cost"]["seconds"] == pytest.approx(130, abs=1)
    assert written["cost"]["device_seconds"] == pytest.approx(4 * 100 + 2 * 30, abs=4)
    assert "began" not in written


def test_another_configuration_in_the_same_place_shows_the_difference(tmp_path):
    finish(tmp_path / "one")
    with pytest.raises(UserError, match=r"merge.weight: 0.3 there, 0.4 here"):
        finish(tmp_path / "one", config={"steps": 3, "merge": {"method": "ties", "weight": 0.4}})


def test_another_file_of_an_input_is_named(tmp_path):
    finish(tmp_path / "one")
    other = {"base": {"model.safetensors": "def"}}
    with pytest.raises(UserError, match=r"inputs\.base\.model\.safetensors: 'abc' there, 'def' here"):
        open_run(tmp_path / "one", stage="merge", config=CONFIG, inputs=other).__enter__()


def test_a_crash_leaves_nothing_in_place_and_the_work_to_resume(tmp_path):
    place = tmp_path / "one"
    with pytest.raises(RuntimeError), open_run(place, stage="merge", config=CONFIG) as run:
        (run.scratch / "shard").write_text("1")
        raise RuntimeError("power cut")
    assert not place.exists()
    with open_run(place, stage="merge", config=CONFIG) as run:
        assert (run.scratch / "shard").read_text() == "1"
    assert open_finished(place) is not None


def test_bad_input_leaves_nothing_at_all(tmp_path):
    with pytest.raises(UserError, match="no weights"), open_run(tmp_path / "one", stage="merge", config=CONFIG):
        raise UserError("no weights")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_the_user_is_not_touched(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="not a run of this tool"):
        finish(tmp_path / "one")
    assert (tmp_path / "one" / "thesis.tex").read_text() == "years of work"


def _hold(place, ready, done):
    with open_run(place, stage="merge", config=CONFIG):
        ready.set()
        done.wait(20)


def test_a_run_that_another_process_finishes_meanwhile_is_found(tmp_path, monkeypatch):
    """Between the first look and the lock."""
    original = record.lock_run

    def late(directory, work):
        monkeypatch.setattr(record, "lock_run", original)
        finish(directory)
        return original(directory, work)

    monkeypatch.setattr(record, "lock_run", late)
    assert finish(tmp_path / "one", text="other").finished
    assert (tmp_path / "one" / "table.csv").read_text() == "payload"
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_runs_leave_no_lock_files(tmp_path):
    for _ in range(2):
        finish(tmp_path / "one")
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["run.json", "table.csv"]
    assert list(json.loads((tmp_path / "one" / "run.json").read_text())["outputs"]) == ["table.csv"]


def test_two_processes_do_not_write_one_place(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path / "one", ready, done))
    other.start()
    try:
        assert ready.wait(30)
        with pytest.raises(UserError, match="another process"):
            finish(tmp_path / "one")
    finally:
        done.set()
        other.join()
    assert other.exitcode == 0


def test_bad_input_leaves_nothing_but_a_stopped_run_leaves_its_work(tmp_path):
    for error, left in ((UserError("bad"), False), (Stopped("full"), True)):
        place = tmp_path / type(error).__name__
        with pytest.raises(UserError), open_run(place, stage="train", config=CONFIG) as run:
            (run.scratch / "step.ckpt").write_text("x")
            raise error
        assert not place.exists()
        assert (tmp_path / f".{place.name}.partial" / ".scratch" / "step.ckpt").exists() is left
        assert open_run(place, stage="train", config=CONFIG).__enter__().fresh is not left


def test_a_patient_process_waits_for_another_and_takes_its_run(tmp_path, monkeypatch):
    monkeypatch.setattr("src.runs.lock._patient", False)  # restored after the test
    wait_for_other_processes()
    place = tmp_path / "run"
    inputs = {"base": {"model.safetensors": "abc"}}
    first = begin_run(place, stage="merge", config={"a": 1}, inputs=inputs)
    with ThreadPoolExecutor() as pool:
        second = pool.submit(finish, place, {"a": 1})
        time.sleep(0.2)
        assert not second.done()
        first.finish()
        assert second.result(timeout=5).finished
    assert not (tmp_path / ".run.partial").exists()
