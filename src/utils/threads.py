"""CPU threads of this process: one number for torch, BLAS, tokenizers, merges, hashing and sandboxes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from src.utils.errors import UserError

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS")
# Below this number of parameters a second thread gains nothing: a training step of the pocket model (0.9M) takes 57 ms
# with two threads and 57-61 ms with one, and 3,500 ms with two when other processes keep the cores busy.
SMALL = 10_000_000
_chosen: int | None = None


def set_threads(threads: int | None) -> None:
    """Use a number of threads from now on, also in the processes that this one starts.

    Args:
        threads: At least 1; None leaves each library its own choice, which `OMP_NUM_THREADS` sets.

    Raises:
        UserError: Less than one.
    """
    global _chosen
    if threads is None:
        return
    if threads < 1:
        raise UserError(f"threads: expected at least 1, got {threads}")
    _chosen = threads
    os.environ.update(dict.fromkeys(VARIABLES, str(threads)))
    if "torch" in sys.modules:  # it reads the variables only when it is imported
        import torch

        torch.set_num_threads(threads)


def usable_cores() -> int:
    """Number of cores that this process may use, which a scheduler may have limited."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_threads() -> int:
    """Number of threads or processes for work that is divided freely: `threads`, or one per usable core."""
    return usable_cores() if _chosen is None else _chosen


@contextmanager
def threads_for(parameters: int) -> Iterator[None]:
    """Run a small network on one thread, unless the user has chosen a number; restore torch's number on exit.

    Args:
        parameters: Number of parameters of the network.
    """
    import torch

    before = torch.get_num_threads()
    if _chosen is None and "OMP_NUM_THREADS" not in os.environ and parameters < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
