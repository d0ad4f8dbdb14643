"""The tasks that Slurm started, from the variables that it sets.

A batch script and the shell of salloc know the number of tasks of their job, and a batch script even has a task number,
but only srun starts the tasks: the variables of its step tell them apart.
"""

from __future__ import annotations

import os

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

from src.utils.errors import UserError

SPECIAL_STEPS = 0xFFFFFFFA  # step numbers from here on are Slurm's own: an interactive shell, a batch script, ...
PORTS = range(15000, 25000)


def srun_tasks() -> tuple[int, int] | None:
    """Return tasks per node and nodes of this process's step; None: srun has not started it, or started it alone.

    Raises:
        UserError: The nodes have different numbers of tasks.
    """
    if not _in_step():
        return None
    tasks, nodes = int(os.environ["SLURM_STEP_NUM_TASKS"]), int(os.environ.get("SLURM_STEP_NUM_NODES", "1"))
    if tasks == 1:
        return None
    per_node = os.environ.get("SLURM_STEP_TASKS_PER_NODE", "")
    if tasks % nodes or "," in per_node:
        raise UserError(
            f"srun started {tasks} tasks on {nodes} nodes ({per_node} per node); training needs as many on each: "
            "srun --ntasks-per-node=N"
        )
    return tasks // nodes, nodes


def require_srun() -> None:
    """Refuse a batch script with several tasks of which only this process runs.

    Raises:
        UserError: The job has several tasks and srun started none; in an interactive shell that is no error.
    """
    tasks, is_script = int(os.environ.get("SLURM_NTASKS", "1")), "SLURM_PROCID" in os.environ
    if tasks > 1 and is_script and not _is_numbered(os.environ.get("SLURM_STEP_ID")):
        raise UserError(
            f"Slurm job {os.environ.get('SLURM_JOB_ID')} has {tasks} tasks, but only this process was started: write "
            "srun before python, or submit with --ntasks=1; trainer.devices=N starts N processes on this node without "
            "srun"
        )


def set_torch_variables() -> None:
    """Set the variables by which torchrun describes processes, from Slurm's."""
    env = os.environ
    found = srun_tasks()
    assert found is not None
    nodes = env.get("SLURM_STEP_NODELIST", env.get("SLURM_JOB_NODELIST", "127.0.0.1"))
    number = int(env.get("SLURM_JOB_ID", "0")) * 31 + int(env["SLURM_STEP_ID"])  # the same in all tasks of a step
    env.setdefault("MASTER_ADDR", SLURMEnvironment.resolve_root_node_address(nodes))
    env.setdefault("MASTER_PORT", str(PORTS[number % len(PORTS)]))
    env["RANK"], env["LOCAL_RANK"] = env["SLURM_PROCID"], env["SLURM_LOCALID"]
    env["WORLD_SIZE"], env["LOCAL_WORLD_SIZE"] = env["SLURM_STEP_NUM_TASKS"], str(found[0])


def _in_step() -> bool:
    return _is_numbered(os.environ.get("SLURM_STEP_ID")) and {"SLURM_PROCID", "SLURM_STEP_NUM_TASKS"} <= set(os.environ)


def _is_numbered(step: str | None) -> bool:
    return step is not None and step.isdigit() and int(step) < SPECIAL_STEPS
