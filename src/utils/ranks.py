"""Rank of this process in a distributed run, and exchanges between ranks."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T")
_exchanging = True


def rank() -> int:
    """Return the global rank that torchrun, Slurm or Lightning has set; 0 in a single process."""
    for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"):
        if name in os.environ:
            return int(os.environ[name])
    return 0


def is_main_process() -> bool:
    """True on rank 0: the process that writes records and prints."""
    return rank() == 0


def is_first_of_node() -> bool:
    """True in one process per machine."""
    return all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "SLURM_LOCALID"))


def from_main(value: T) -> T:
    """Return the main process's value; all processes must make this call."""
    if not _connected():
        return value
    import torch.distributed

    box = [value]
    torch.distributed.broadcast_object_list(box, src=0)
    return box[0]


def from_all(value: T) -> list[T]:
    """Return the values of all processes, by rank; all processes must make this call."""
    if not _connected():
        return [value]
    import torch.distributed

    values: list[T] = [value] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values


def wait_for_all() -> None:
    """Wait until every process has made this call."""
    if _connected():
        import torch.distributed

        torch.distributed.barrier()


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Let one process work on its own: inside, the calls above do not wait for other processes."""
    global _exchanging
    before, _exchanging = _exchanging, False
    try:
        yield
    finally:
        _exchanging = before


def _connected() -> bool:
    import sys

    if (
        not _exchanging or "torch" not in sys.modules
    ):  # without the import nothing is distributed, and importing takes seconds
        return False
    import torch.distributed

    return torch.distributed.is_available() and torch.distributed.is_initialized()
