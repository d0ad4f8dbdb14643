"""Number of processes of a run, from its settings and the processes that torchrun or Slurm started."""

from __future__ import annotations

import atexit
import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed

from src.lit_modules.options import TrainerOptions
from src.lit_modules.rendezvous import meet
from src.lit_modules.slurm import require_srun, set_torch_variables, srun_tasks
from src.utils.errors import UserError

_unfinished: list[TrainerOptions] = []  # jobs that have started and not yet finished successfully
PATIENCE = timedelta(hours=2)  # the others wait while one process merges, hashes or writes a large model


@dataclass(frozen=True)
class World:
    """The processes of a run.

    Args:
        devices: Processes per node.
        nodes: Number of nodes.
    """

    devices: int
    nodes: int

    @property
    def size(self) -> int:
        """Number of processes."""
        return self.devices * self.nodes


def resolve_world(options: TrainerOptions) -> World:
    """Return the processes that `trainer.devices` and `trainer.nodes` request.

    Raises:
        UserError: There are no or too few GPUs, or a different number of processes was started.
    """
    gpus = torch.cuda.device_count() if options.accelerator == "gpu" else 0
    if options.accelerator == "gpu" and gpus == 0:
        raise UserError(
            "this model trains on a GPU, but none is visible: use a machine with one, or try it with debug=shrink "
            "(two layers, seconds on a CPU); trainer=cpu trains the whole model slowly"
        )
    started = started_world()
    devices = options.devices if isinstance(options.devices, int) else (started.devices if started else max(1, gpus))
    nodes = options.nodes if isinstance(options.nodes, int) else (started.nodes if started else 1)
    if options.accelerator == "gpu" and devices > gpus:
        seen = f"trainer.devices={devices}: this node has {gpus} GPUs"
        if started is not None:
            raise UserError(
                f"{seen} visible to this process; every process must see all of them: srun --gpus-per-node={devices}"
            )
        raise UserError(f"{seen}; set trainer.devices={gpus} or auto")
    wanted = World(devices, nodes)
    if started is not None and started != wanted:
        raise UserError(
            f"trainer.devices={devices} trainer.nodes={nodes}, but {started.devices} processes on each of "
            f"{started.nodes} nodes were started; leave both at auto, or start as many processes"
        )
    if started is None and nodes > 1:
        raise UserError(
            f"trainer.nodes={nodes} needs processes on every node: torchrun --nnodes={nodes} "
            f"--nproc-per-node={devices} train.py ..., or srun --kill-on-bad-exit=1 with one task per GPU"
        )
    return wanted


@contextlib.contextmanager
def connected(options: TrainerOptions) -> Iterator[None]:
    """Connect the processes that were started together, before the first step that only one of them does.

    They stay connected until they end, since a sweep has several jobs. Nothing is done for a single process.

    Raises:
        UserError: As `resolve_world`; or Slurm has several tasks for this run and srun has started none.
    """
    if started_world() is None and options.devices == "auto":
        require_srun()
    if started_world() not in (None, World(1, 1)) and not torch.distributed.is_initialized():
        _connect(options, resolve_world(options))
        atexit.register(_disconnect)
    _unfinished.append(options)
    yield
    _unfinished.pop()


def _disconnect() -> None:
    """Disconnect, except after an error: the others are then inside a collective, and the launcher ends them."""
    if not _unfinished:
        torch.distributed.destroy_process_group()


def _connect(options: TrainerOptions, world: World) -> None:
    env = os.environ
    if "RANK" not in env:
        set_torch_variables()
    number = int(env["RANK"])
    serve = number == 0 and env.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    store = meet(number, world.size, env["MASTER_ADDR"], int(env["MASTER_PORT"]), serve=serve)
    given: dict[str, Any] = {"store": store, "rank": number, "world_size": world.size, "timeout": PATIENCE}
    if options.accelerator == "gpu":
        device = torch.device("cuda", int(env["LOCAL_RANK"]))
        torch.cuda.set_device(device)
        torch.distributed.init_process_group("nccl", device_id=device, **given)
    else:
        torch.distributed.init_process_group("gloo", **given)


def started_world() -> World | None:
    """Return the processes that torchrun, srun or our launcher started; None: only this one."""
    env = os.environ
    if "WORLD_SIZE" in env and "RANK" in env:
        local = int(env.get("LOCAL_WORLD_SIZE", env["WORLD_SIZE"]))
        return World(local, int(env["WORLD_SIZE"]) // local)
    tasks = srun_tasks()
    return None if tasks is None else World(*tasks)
