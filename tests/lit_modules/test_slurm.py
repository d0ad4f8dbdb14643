from __future__ import annotations

import os
from collections.abc import Mapping

import pytest

from src.lit_modules.options import TrainerOptions
from src.lit_modules.slurm import require_srun, set_torch_variables, srun_tasks
from src.lit_modules.world import connected
from src.utils.errors import UserError

# as Slurm 22.05 sets them: for the second of two tasks of srun, a batch script, and the shell of salloc
TASK = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_STEP_ID": "0"}
TASK |= {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "1", "SLURM_STEP_TASKS_PER_NODE": "2"}
TASK |= {"SLURM_STEP_NODELIST": "gpu[07-09]", "SLURM_JOB_NAME": "bash"}  # the name of the command after srun
SCRIPT = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
SALLOC = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_JOB_NAME": "interactive"}
SHELL = {**SALLOC, "SLURM_PROCID": "0", "SLURM_STEP_ID": "4294967290", "SLURM_STEP_NUM_TASKS": "1"}


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("SLURM_"):
            monkeypatch.delenv(name)


def set_variables(monkeypatch: pytest.MonkeyPatch, values: Mapping[str, str]) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({}, None),
        (TASK, (2, 1)),
        ({**TASK, "SLURM_STEP_NUM_TASKS": "16", "SLURM_STEP_NUM_NODES": "2"}, (8, 2)),
        ({**TASK, "SLURM_STEP_NUM_TASKS": "1"}, None),  # one task of a step in a job of two
        (SCRIPT, None),
        (SALLOC, None),
        (SHELL, None),
    ],
)
def test_tasks(monkeypatch: pytest.MonkeyPatch, values: Mapping[str, str], found: tuple[int, int] | None) -> None:
    set_variables(monkeypatch, values)
    assert srun_tasks() == found


@pytest.mark.parametrize("counts", [("3", "2", "2,1"), ("4", "2", "3,1")])
def test_nodes_with_different_numbers_of_tasks(monkeypatch: pytest.MonkeyPatch, counts: tuple[str, str, str]) -> None:
    names = ("SLURM_STEP_NUM_TASKS", "SLURM_STEP_NUM_NODES", "SLURM_STEP_TASKS_PER_NODE")
    set_variables(monkeypatch, {**TASK, **dict(zip(names, counts, strict=True))})
    with pytest.raises(
        UserError, match=rf"started {counts[0]} tasks on 2 nodes \({counts[2]} per node\).*--ntasks-per"
    ):
        srun_tasks()


def test_a_batch_script_without_srun_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for fine in ({}, TASK, SALLOC, SHELL, {**SCRIPT, "SLURM_NTASKS": "1"}):
        with monkeypatch.context() as here:
            set_variables(here, fine)
            if fine is not SHELL:
                require_srun()
    set_variables(monkeypatch, SCRIPT)
    with (
        pytest.raises(
            UserError, match=r"Slurm job 7 has 2 tasks, but only this process.*srun before python.*devices=N"
        ),
        connected(TrainerOptions()),
    ):
        pytest.fail("not reached")
    with connected(TrainerOptions(devices=1)):
        pass  # the number of processes is the user's own


def test_variables_of_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    for name in names:
        monkeypatch.setenv(name, "")  # so that what is set here is undone
        monkeypatch.delenv(name)
    set_variables(monkeypatch, TASK)
    set_torch_variables()
    assert [os.environ[name] for name in names] == ["1", "1", "2", "2", "gpu07", str(15000 + 7 * 31)]
