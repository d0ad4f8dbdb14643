"""Room for the weights of merges, counted before the first of them is written: bytes on the disk, and open files."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Mapping
from pathlib import Path

from src.merging.engine.point import merged_table
from src.merging.recipe import Recipe
from src.merging.tensors.parent import Parent
from src.utils.errors import UserError

FILES_PER_POINT = 3  # its lock, and its shard through the page cache and around it
OTHER_FILES = 24  # parents, libraries, what a thread of the pool opens for a moment


def points_at_once() -> int:
    """Points that this process can hold open; the soft limit on open files is raised to the hard one first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return max(1, (hard - len(os.listdir("/dev/fd")) - OTHER_FILES) // FILES_PER_POINT)


def weight_bytes(base: Parent, recipe: Recipe) -> int:
    """Bytes of the weights of a merge."""
    return sum(info.nbytes for info in merged_table(base, recipe).values())


def free_bytes(directory: Path) -> tuple[int, int]:
    """Number of the disk that a directory is on or will be on, and the bytes that are free there."""
    existing = next(place for place in (directory, *directory.absolute().parents) if place.is_dir())
    return existing.stat().st_dev, shutil.disk_usage(existing).free


def room_errors(needs: Mapping[int, tuple[Path, int]]) -> dict[int, UserError]:
    """Errors of the points for which the disk has no room, counted in their order.

    Args:
        needs: Run directory and bytes of its weights that are not written yet, by point.
    """
    errors: dict[int, UserError] = {}
    left: dict[int, int] = {}
    for point, (directory, needed) in needs.items():
        disk, free = free_bytes(directory)
        left.setdefault(disk, free)
        if needed > left[disk]:
            errors[point] = UserError(
                f"{directory} needs {needed / 1e9:.3g} GB, its disk has {left[disk] / 1e9:.3g} GB left; free some "
                "space, choose another output=, or keep the recipe alone with save_weights=false"
            )
        else:
            left[disk] -= max(needed, 0)
    return errors
