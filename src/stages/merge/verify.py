"""`merge.py verify=DIR`: compare an existing merge with its record."""

from __future__ import annotations

from pathlib import Path

from src.checkpoints import Checkpoint
from src.merging.engine.verify import Verification, verify_merge
from src.merging.tensors.parent import open_parents
from src.stages.checkpoints import written_checkpoint
from src.stages.merge.recorded import recorded_merge
from src.utils.errors import UserError, first_differences


def verify(directory: Path) -> Verification:
    """Recompute sampled tensors of a merge from the parents and the recipe in its record, and compare.

    Raises:
        UserError: `directory` is not a merge or holds no weights, its parents are missing or have changed, or
            sampled tensors differ.
    """
    point = recorded_merge(directory, "verify")
    merged = Checkpoint(written_checkpoint(str(directory), "verify"))
    base, specialists = open_parents(point.base, point.specialists, point.allow_pickle)
    found = verify_merge(merged, base, specialists, point.recipe)
    if not found.holds:
        raise UserError(first_differences(f"{directory} does not match its record in", list(found.differing)))
    return found
