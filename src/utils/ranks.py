"""Who am I among the processes of a distributed run."""

from __future__ import annotations

import os


def rank() -> int:
    """Global rank as torchrun, Slurm or Lightning set it; 0 in a single process."""
    for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"):
        if name in os.environ:
            return int(os.environ[name])
    return 0


def is_main_process() -> bool:
    """True on rank 0: the process that writes records and prints."""
    return rank() == 0
