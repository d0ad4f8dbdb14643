"""Races, limits and full disks of grids."""

import subprocess
import sys

import pytest

from src.checkpoints.fingerprint import weights_fingerprint
from src.runs.lock import Busy
from src.runs.record import begin_run
from src.stages.job import compose_job
from src.stages.merge import run as stage
from src.stages.merge.run import merge_all
from tests.stages.command import TRAIN

WEIGHTS = (0.2, 0.5, 0.7)


@pytest.fixture
def jobs(world, tmp_path):
    """Three points of one grid, composed once."""
    parents = [f"base={world}/train/pocket-base-s0"]
    parents += [f"specialists.{task}={world}/train/pocket-specialist-{task}-s0" for task in ("codegen", "codesum")]
    first = compose_job("merge", ["merge=linear", f"output_root={tmp_path}", *parents])
    return [first.varied(1, {"merge.weight": str(weight)}) for weight in WEIGHTS]


def test_points_that_another_process_merges_are_waited_for(jobs, monkeypatch):
    """Two identical grids at once: each has some of the points."""
    busy = ["w0.5", "w0.5", "w0.2"]

    def begin(directory, **more):
        if busy and busy[0] in directory.name:
            busy.pop(0)
            raise Busy(directory)
        return begin_run(directory, **more)

    monkeypatch.setattr(stage, "begin_run", begin)
    found = merge_all(jobs)
    assert [path.name[-7:] for path in found] == ["w0.2-s0", "w0.5-s0", "w0.7-s0"]
    assert all((path / "model.safetensors").is_file() for path in found)
    assert not busy or busy == ["w0.2"]


def test_a_grid_in_several_passes_gives_the_same_weights(jobs, monkeypatch):
    monkeypatch.setattr(stage, "points_at_once", lambda: 2)
    found = [weights_fingerprint(path) for path in merge_all(jobs)]
    monkeypatch.setattr(stage, "points_at_once", lambda: 99)
    again = [job.varied(1, {"output": f"{job.cfg.output_root}/again{place}"}) for place, job in enumerate(jobs)]
    assert [weights_fingerprint(path) for path in merge_all(again)] == found
    assert len(set(found)) == 3


@pytest.mark.slow
def test_fifty_points_with_64_open_files(world, tmp_path):
    parents = [f"base={world}/train/pocket-base-s0"]
    parents += [f"specialists.{task}={world}/train/pocket-specialist-{task}-s0" for task in ("codegen", "codesum")]
    grid = ["-m", "merge=linear", "merge.weight=0.01,0.02,...,0.5", f"output_root={tmp_path}", *parents]
    line = f"ulimit -n 64; exec {sys.executable} merge.py {' '.join(grid)}"
    done = subprocess.run(["bash", "-c", line], cwd=TRAIN.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "merge").glob("pocket-*"))) == 50


@pytest.mark.slow
def test_two_identical_grids_at_once_both_succeed(world, tmp_path):
    parents = [f"base={world}/train/pocket-base-s0"]
    parents += [f"specialists.{task}={world}/train/pocket-specialist-{task}-s0" for task in ("codegen", "codesum")]
    grid = ["merge.py", "-m", "merge=linear", "merge.weight=0.1,0.2,...,0.9", f"output_root={tmp_path}", *parents]
    both = [
        subprocess.Popen([sys.executable, *grid], cwd=TRAIN.parent, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    said = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert len(list((tmp_path / "merge").iterdir())) == 9
