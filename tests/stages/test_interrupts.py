"""`train.py` asked to end: what it says, its exit code, and that the same command goes on."""

import json
import signal
import subprocess
import sys
import time

import pytest

from tests.stages.command import TRAIN
from tests.stages.conftest import SHORT

STEPS = 150


def started(world, place, *overrides):
    """A running command that has come to its third step."""
    options = [*SHORT[1:], f"strategy.steps={STEPS}", f"output_root={world}", f"output={place}", "logger=none"]
    command = [sys.executable, str(TRAIN), "strategy=mix", *options, *overrides]
    process = subprocess.Popen(command, cwd=TRAIN.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    rows = place.parent / f".{place.name}.partial" / ".scratch" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not rows.exists() or len(rows.read_text().splitlines()) < 3:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process, command, rows


@pytest.mark.parametrize(
    ("overrides", "number"),
    [
        ([], signal.SIGTERM),
        pytest.param([], signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(["trainer.devices=2"], signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(["trainer.devices=2"], signal.SIGINT, marks=pytest.mark.slow),
    ],
)
def test_a_request_to_end_is_heard(world, tmp_path, overrides, number):
    process, command, rows = started(world, tmp_path / "out", *overrides)
    process.send_signal(number)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 128 + number, said
    assert said.count("stopping once this step is done and saved") == 1
    assert said.count("interrupted; the same command goes on from here") == 1
    assert "Traceback" not in said
    done = json.loads(rows.read_text().splitlines()[-1])["step"]
    assert done < STEPS
    assert [path.name for path in (rows.parent / "checkpoints").iterdir()] == [f"step-{done:08d}.ckpt"]
    if not overrides:
        return
    again = subprocess.run(command, cwd=TRAIN.parent, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert json.loads((tmp_path / "out" / "run.json").read_text())["results"]["cost"]["steps"] == STEPS


@pytest.mark.slow
def test_a_second_request_is_not_held_up(world, tmp_path):
    process, _, _ = started(world, tmp_path / "out")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 130
    assert said.count("interrupted; the same command goes on from here") == 1
    assert "Traceback" not in said
