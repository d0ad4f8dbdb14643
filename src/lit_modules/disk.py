"""Disk space that the checkpoints of a run need, checked before its first step."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from src.lit_modules.memory import GIB, MOMENTS
from src.utils.errors import UserError

PAGED = MOMENTS["adamw8bit"]  # paged moments are 8-bit ones, and a checkpoint holds them wherever they are


def checkpoint_bytes(network: torch.nn.Module, optimizer: str, sharded: bool) -> float:
    """Bytes of one checkpoint, over all ranks: saved weights in their own type, and the moments of trained ones.

    Args:
        network: Whole, sharded or on the meta device.
        optimizer: Kind of the optimizer.
        sharded: Whether frozen weights are saved too; a single process leaves them out.
    """
    moments = MOMENTS[optimizer] or PAGED
    total = 0.0
    for parameter in network.parameters():
        if parameter.requires_grad or sharded:
            total += parameter.numel() * (parameter.element_size() + (moments if parameter.requires_grad else 0.0))
    return total


def require_space(directory: Path, each: float, keep: int) -> None:
    """Refuse a run whose checkpoints do not fit on the disk: those that are kept, and the one that is being written.

    Args:
        directory: Holds the checkpoints; those of an earlier attempt count as free, because they are replaced.
        each: Bytes of one.
        keep: Number that is kept.

    Raises:
        UserError: There is too little space.
    """
    place = next(parent for parent in (directory, *directory.parents) if parent.is_dir())
    held = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    free = shutil.disk_usage(place).free
    if (keep + 1) * each > free + held:
        raise UserError(
            f"the checkpoints of this run need {(keep + 1) * each / GIB:.1f} GiB ({keep} kept and one being written, "
            f"{each / GIB:.1f} GiB each), but {place} has {free / GIB:.1f} GiB free; set checkpoint.keep=1, free disk "
            "space, or set output_root= to another disk"
        )
