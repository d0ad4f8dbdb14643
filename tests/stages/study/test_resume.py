"""A study that is killed again and again ends with the numbers of one that never stopped."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stages.study.test_run import overrides

ROOT = Path(__file__).resolve().parents[3]


def start(root):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "study.py", *overrides(root), f"output={root}/study/pocket"]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def run_killed_every(seconds, root):
    """Kill -9 the whole process group after `seconds`, a little later each time, until a run gets through."""
    kills = 0
    while True:
        process = start(root)
        try:
            _, errors = process.communicate(timeout=seconds + 2 * kills)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            kills += 1
            continue
        assert process.returncode == 0, errors
        return kills


@pytest.mark.slow
def test_kill_nine_changes_no_number(tmp_path):
    kills = run_killed_every(6.0, tmp_path / "killed")
    assert kills >= 1
    process = start(tmp_path / "whole")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    for name in ("headline.csv", "ablation.csv"):
        killed, whole = (tmp_path / place / "study" / "pocket" / name for place in ("killed", "whole"))
        assert killed.read_text() == whole.read_text()
