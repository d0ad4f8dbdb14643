"""`train.py` asked to end: what it says, its exit code, and that the same command goes on."""

import json
import os
import runpy
import signal
import subprocess
import sys
import time

import pytest

from src.lit_modules.callbacks.interrupt import StopWhenAsked
from tests.forked import Forked
from tests.stages.command import TRAIN, UNTOUCHED_LOGGING
from tests.stages.conftest import SHORT

STEPS = 150


def spawned(words, said):
    """As a shell runs the command."""
    return subprocess.Popen(
        [sys.executable, *words], cwd=TRAIN.parent, stdout=said.open("w"), stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip


def forked(words, said):
    """The same without importing everything anew."""
    return Forked(typed, words, said)


def typed(words, said):
    os.setsid()
    file = said.open("w", buffering=1)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(file.fileno(), number)
        setattr(sys, name, file)
    sys.argv = [*words, *UNTOUCHED_LOGGING]
    runpy.run_path(words[0], run_name="__main__")


def started(start, world, place, *overrides):
    """A command that has come to its third step, in a group of processes of its own."""
    options = [*SHORT[1:], f"strategy.steps={STEPS}", f"output_root={world}", f"output={place}", "logger=none"]
    words, said = [str(TRAIN), "strategy=mix", *options, *overrides], place.parent / "said.txt"
    process = start(words, said)
    rows = place.parent / f".{place.name}.partial" / ".scratch" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not rows.exists() or len(rows.read_text().splitlines()) < 3:
        assert process.poll() is None, said.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process, words, said, rows


@pytest.mark.parametrize(
    ("start", "overrides", "number"),
    [
        (forked, [], signal.SIGTERM),
        pytest.param(spawned, [], signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(spawned, [], signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(spawned, [], signal.SIGHUP, marks=pytest.mark.slow),
        pytest.param(spawned, ["trainer.devices=2"], signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(spawned, ["trainer.devices=2"], signal.SIGINT, marks=pytest.mark.slow),
    ],
)
def test_a_request_to_end_is_heard(world, tmp_path, start, overrides, number):
    process, words, file, rows = started(start, world, tmp_path / "out", *overrides)
    os.killpg(process.pid, number)  # as a terminal and cluster managers do: the launcher and its processes
    code, said = process.wait(timeout=60), file.read_text()
    assert code == 128 + number, said
    assert said.count("stopping once this step is done and saved") == 1
    assert said.count("interrupted; the same command resumes the run") == 1
    assert "Traceback" not in said
    done = json.loads(rows.read_text().splitlines()[-1])["step"]
    assert done < STEPS
    assert [path.name for path in (rows.parent / "checkpoints").iterdir()] == [f"step-{done:08d}.ckpt"]
    if not overrides:
        return
    again = subprocess.run([sys.executable, *words], cwd=TRAIN.parent, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert json.loads((tmp_path / "out" / "run.json").read_text())["results"]["cost"]["steps"] == STEPS


def test_requests_close_together_are_one_and_a_later_one_is_handed_on(monkeypatch):
    raised, now = [], [100.0]
    stop = StopWhenAsked(None)
    monkeypatch.setattr("src.lit_modules.callbacks.interrupt.time.monotonic", lambda: now[0])
    monkeypatch.setattr("src.lit_modules.callbacks.interrupt.signal.raise_signal", raised.append)
    for seconds in (0.0, 0.0, 0.5):
        now[0] += seconds
        stop._ask(signal.SIGTERM)
    assert raised == []
    now[0] += 1.0
    stop._ask(signal.SIGTERM)
    assert raised == [signal.SIGTERM]
