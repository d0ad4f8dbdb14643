from __future__ import annotations

from typing import Any

import pytest

from src.lit_modules.options import TrainerOptions
from src.lit_modules.world import World, resolve_world, started_world
from src.utils.errors import UserError

NAMES = (
    "RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    *(f"SLURM_{name}" for name in ("PROCID", "NTASKS", "STEP_ID", "STEP_NUM_TASKS", "STEP_NUM_NODES")),
)
TORCHRUN = {"RANK": "9", "WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8"}
SRUN = {"SLURM_PROCID": "3", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "16", "SLURM_STEP_NUM_NODES": "2"}


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)

    def describe(gpus: int, env: dict[str, str]) -> None:
        monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
        for name, value in env.items():
            monkeypatch.setenv(name, value)

    return describe


@pytest.mark.parametrize(
    ("gpus", "env", "options", "expected"),
    [
        (0, {}, {}, World(1, 1)),
        (0, {}, {"devices": 2}, World(2, 1)),  # processes on a CPU
        (8, {}, {}, World(1, 1)),  # the CPU was asked for
        (8, {}, {"accelerator": "gpu"}, World(8, 1)),
        (8, {}, {"accelerator": "gpu", "devices": 1}, World(1, 1)),
        (8, TORCHRUN, {"accelerator": "gpu"}, World(8, 2)),
        (8, SRUN, {"accelerator": "gpu"}, World(8, 2)),
        (8, {**SRUN, "SLURM_STEP_ID": "4294967290"}, {"accelerator": "gpu"}, World(8, 1)),  # a shell of salloc
        (8, {"SLURM_PROCID": "0", "SLURM_NTASKS": "16"}, {"accelerator": "gpu"}, World(8, 1)),  # a batch script
    ],
)
def test_processes(machine: Any, gpus: int, env: dict[str, str], options: dict[str, Any], expected: World) -> None:
    machine(gpus, env)
    assert resolve_world(TrainerOptions(**options)) == expected


def test_only_this_process(machine: Any) -> None:
    machine(0, {})
    assert started_world() is None


@pytest.mark.parametrize(
    ("gpus", "env", "options", "message"),
    [
        (0, {}, {"accelerator": "gpu"}, r"trains on a GPU, but none is visible.*debug=shrink.*trainer=cpu"),
        (2, {}, {"accelerator": "gpu", "devices": 4}, r"trainer.devices=4: this node has 2 GPUs"),
        (1, SRUN, {"accelerator": "gpu"}, r"this node has 1 GPUs visible to this process.*srun --gpus-per-node=8"),
        (8, TORCHRUN, {"accelerator": "gpu", "devices": 4}, r"devices=4 trainer.nodes=2, but 8 processes on each of 2"),
        (
            8,
            {},
            {"accelerator": "gpu", "nodes": 2},
            r"trainer.nodes=2 needs processes on every node: torchrun --nnodes=2",
        ),
    ],
)
def test_what_is_not_there(machine: Any, gpus: int, env: dict[str, str], options: dict[str, Any], message: str) -> None:
    machine(gpus, env)
    with pytest.raises(UserError, match=message):
        resolve_world(TrainerOptions(**options))
