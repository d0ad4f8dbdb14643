"""Who am I among the processes of a distributed run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T")
_meeting = True


def rank() -> int:
    """Global rank as torchrun, Slurm or Lightning set it; 0 in a single process."""
    for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"):
        if name in os.environ:
            return int(os.environ[name])
    return 0


def is_main_process() -> bool:
    """True on rank 0: the process that writes records and prints."""
    return rank() == 0


def is_first_of_node() -> bool:
    """True in one process of every machine."""
    return all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "SLURM_LOCALID"))


def from_main(value: T) -> T:
    """The value that the main process gave; the same call must be made by all."""
    if not _connected():
        return value
    import torch.distributed

    box = [value]
    torch.distributed.broadcast_object_list(box, src=0)
    return box[0]


def from_all(value: T) -> list[T]:
    """The values of all processes, by rank; the same call must be made by all."""
    if not _connected():
        return [value]
    import torch.distributed

    values: list[T] = [value] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values


def wait_for_all() -> None:
    """Go on once every process has come here."""
    if _connected():
        import torch.distributed

        torch.distributed.barrier()


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """For work of one process while the others go on or wait elsewhere: the calls above meet nobody inside."""
    global _meeting
    before, _meeting = _meeting, False
    try:
        yield
    finally:
        _meeting = before


def _connected() -> bool:
    import sys

    if not _meeting or "torch" not in sys.modules:  # nothing is distributed without it, and importing it takes seconds
        return False
    import torch.distributed

    return torch.distributed.is_available() and torch.distributed.is_initialized()
