"""Training in processes that torchrun or Slurm has started: the same command, the same weights."""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile

import pytest
import torch

from src.checkpoints import Checkpoint
from src.stages.job import compose_job
from src.stages.train.launch import once
from src.stages.train.run import train
from src.utils.errors import UserError
from tests.stages.command import TRAIN

LINE = ["strategy=merge", "merge=linear", "model=deepseek1.3b", "debug=shrink", "model.recipe.steps=3", "logger=none"]


def port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def torchrun(nodes, processes):
    """The command of each node."""
    place = f"--rdzv-endpoint=127.0.0.1:{port()}"
    start = [sys.executable, "-m", "torch.distributed.run", f"--nnodes={nodes}", f"--nproc-per-node={processes}"]
    return [([*start, "--rdzv-backend=c10d", place, str(TRAIN), *LINE], {}) for _ in range(nodes)]


def srun(tasks):
    """The command of each task, with what Slurm says to it."""
    common = {"SLURM_JOB_ID": str(port()), "SLURM_NTASKS": str(tasks), "SLURM_NNODES": "1", "SLURM_STEP_ID": "0"}
    common |= {"SLURM_STEP_NUM_TASKS": str(tasks), "SLURM_STEP_NUM_NODES": "1", "SLURM_JOB_NAME": "bash"}
    common |= {"SLURM_JOB_NODELIST": "localhost", "SLURM_NODELIST": "localhost", "SLURM_NODEID": "0"}
    ranks = [{**common, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} for rank in range(tasks)]
    return [([sys.executable, str(TRAIN), *LINE], rank) for rank in ranks]


def run_all(commands, output_root):
    """Exit codes and what was said, of processes that run side by side."""
    with tempfile.TemporaryFile("w+") as said, contextlib.ExitStack() as running:
        started = []
        for command, variables in commands:
            line, environment = [*command, f"output_root={output_root}"], {**os.environ, **variables}
            process = subprocess.Popen(line, cwd=TRAIN.parent, env=environment, stdout=said, stderr=said)
            running.callback(process.kill)
            started.append(process)
        codes = [process.wait(timeout=300) for process in started]
        said.seek(0)
        return codes, said.read()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "commands",
    [lambda: torchrun(1, 2), lambda: torchrun(2, 1), lambda: srun(2)],
    ids=["one node", "two nodes", "Slurm"],
)
def test_a_whole_chain_from_nothing_and_once_more(commands, tmp_path):
    """Base, both specialists and their merge; a second call finds all of it finished."""
    alone = train(compose_job("train", [*LINE, f"output_root={tmp_path}/alone"]))
    codes, said = run_all(commands(), tmp_path / "together")
    assert set(codes) == {0}, said
    together = tmp_path / "together" / alone.relative_to(tmp_path / "alone")
    for name in Checkpoint(alone).names:
        torch.testing.assert_close(Checkpoint(together).tensor(name), Checkpoint(alone).tensor(name), atol=1e-5, rtol=0)
    before = (together / "run.json").read_text()
    codes, said = run_all(commands(), tmp_path / "together")
    assert (set(codes), (together / "run.json").read_text()) == ({0}, before), said


@pytest.mark.slow
def test_all_processes_stop_where_the_first_cannot_go_on(tmp_path):
    """The place of the merge is taken: the one that merges says so, and the other does not wait."""
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("mine")
    commands = [([*command, f"output={tmp_path}/taken"], {}) for command, _ in torchrun(1, 2)]
    codes, said = run_all(commands, tmp_path)
    assert codes == [1]
    assert said.count("taken exists and is not a run of this tool") == 1


@pytest.mark.slow
def test_a_sweep_has_several_jobs(tmp_path):
    """The processes meet once, and part when they end."""
    commands = [([*command[:2], "-m", "strategy=mix", "seed=0,1", *LINE[2:]], env) for command, env in srun(2)]
    codes, said = run_all(commands, tmp_path)
    assert codes == [0, 0], said
    names = {path.name for path in (tmp_path / "train").iterdir() if not path.name.startswith(".")}
    assert {f"deepseek1.3b-shrunk-mix-steps3-s{seed}" for seed in (0, 1)} <= names


def test_an_error_in_the_first_process_reaches_the_others(monkeypatch):
    told = []
    monkeypatch.setattr("src.stages.train.launch.from_main", told.append)
    with pytest.raises(ZeroDivisionError):
        once(lambda: 1 / 0)
    with pytest.raises(OSError, match="No space"):
        once(lambda: exec("raise OSError(28, 'No space left on device', 'x')"))
    assert told == [
        "ZeroDivisionError('division by zero')",
        "cannot write x: No space left on device; free some space, then resume with the same command",
    ]
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("src.stages.train.launch.from_main", lambda own: "why")
    with pytest.raises(UserError, match="why"):
        once(lambda: pytest.fail("the first process does this"))
