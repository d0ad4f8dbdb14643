"""Training in processes that torchrun or Slurm has started: the same command, the same weights."""

import os
import socket
import subprocess
import sys

import pytest
import torch

from src.checkpoints import Checkpoint
from src.stages.job import compose_job
from src.stages.train import train
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
    common = {"SLURM_JOB_ID": str(port()), "SLURM_NTASKS": str(tasks), "SLURM_NNODES": "1", "SLURM_JOB_NAME": "train"}
    common |= {"SLURM_JOB_NODELIST": "localhost", "SLURM_NODELIST": "localhost", "SLURM_NODEID": "0"}
    ranks = [{**common, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} for rank in range(tasks)]
    return [([sys.executable, str(TRAIN), *LINE], rank) for rank in ranks]


def run_all(commands, output_root):
    """Exit codes and what was said, of processes that run side by side."""
    started = [
        subprocess.Popen(
            [*command, f"output_root={output_root}"], cwd=TRAIN.parent, env={**os.environ, **variables},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for command, variables in commands
    ]  # fmt: skip
    said = [process.communicate(timeout=300)[0] for process in started]
    return [process.returncode for process in started], "\n".join(said)


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
    assert run_all(commands(), tmp_path / "together")[0] == [0] * len(commands())
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
