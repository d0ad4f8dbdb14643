"""Training on a real Slurm cluster of one node: with srun, and without."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from src.checkpoints import Checkpoint
from src.stages.job import compose_job
from src.stages.train.run import train
from tests.stages.command import TRAIN
from tests.stages.train.slurm_cluster import Cluster, cluster

LINE = ["strategy=mix", "model=deepseek1.3b", "debug=shrink", "model.recipe.steps=3", "logger=none"]
COMMAND = [sys.executable, str(TRAIN), *LINE]


def processes(run: Path) -> int:
    """How many took part in a run."""
    count: int = json.loads((run / "run.json").read_text(encoding="utf-8"))["attempts"][-1]["processes"]
    return count


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("slurm")) as started:
        yield started


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_two_tasks_train_what_one_process_trains(slurm: Cluster, tmp_path: Path) -> None:
    code, said = slurm.run(["srun", "--ntasks=2", "--label", *COMMAND, f"output={tmp_path}/two"])
    assert code == 0, said
    assert processes(tmp_path / "two") == 2
    one = train(compose_job("train", [*LINE, f"output={tmp_path}/one"]))
    for name in Checkpoint(one).names:
        left, right = (Checkpoint(tmp_path / place).tensor(name).float() for place in ("one", "two"))
        assert (left - right).abs().max() < 1e-2 * left.abs().max(), name  # exported in bfloat16


@pytest.mark.slow
def test_a_batch_script_without_srun_is_refused_in_one_line(slurm: Cluster, tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    script.write_text(f"#!/bin/bash\n{' '.join(COMMAND)} output={tmp_path}/run\n", encoding="utf-8")
    said = tmp_path / "said.txt"
    slurm.run(["sbatch", "--wait", "--ntasks=2", f"--output={said}", str(script)])
    lines = said.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: Slurm job ")
    assert "has 2 tasks, but only this process was started: write srun before python" in lines[0]
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_shell_inside_an_allocation_trains_alone(slurm: Cluster, tmp_path: Path) -> None:
    code, said = slurm.run(["salloc", "--ntasks=2", *COMMAND, f"output={tmp_path}/run"])
    assert (code, "srun" in said) == (0, False), said
    assert processes(tmp_path / "run") == 1


@pytest.mark.slow
def test_a_task_that_ends_early_is_named(slurm: Cluster, tmp_path: Path) -> None:
    """The notice comes 30 seconds after the start; then srun ends what is left."""
    alone = f'[ "$SLURM_PROCID" = 1 ] && exit 0; exec timeout 150 {" ".join(COMMAND)} output={tmp_path}/run'
    code, said = slurm.run(["srun", "--ntasks=2", "bash", "-c", alone])
    assert code != 0
    assert "waiting for process 1 of 2 (counted from 0)" in said
