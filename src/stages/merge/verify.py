"""`merge.py verify=DIR`: compare an existing merge with its record."""

from __future__ import annotations

from pathlib import Path

from src.checkpoints import Checkpoint
from src.checkpoints.side_files import SIDE_FILES
from src.merging.engine.verify import Verification, verify_merge
from src.merging.tensors.parent import open_parents
from src.runs.file_hashes import hash_files
from src.runs.finished import open_finished
from src.stages.checkpoints import written_checkpoint
from src.stages.merge.adapter import verify_adapter
from src.stages.merge.recorded import recorded_merge
from src.utils.errors import UserError, first_differences

SAMPLED = 16  # recomputed tensors


def verify(directory: Path, every: bool = False) -> Verification:
    """Compare the hashes of all files of a merge with its record, then recompute tensors from parents and recipe.

    Args:
        directory: Run directory of the merge.
        every: Recompute all tensors instead of a new random sample of 16.

    Raises:
        UserError: `directory` is not a merge or holds no weights, its parents are missing or have changed, or files or
            recomputed tensors differ from the record.
    """
    point = recorded_merge(directory, "verify")
    if wrong := _changed_files(directory):
        raise UserError(first_differences(f"{directory} does not match its record", wrong))
    sampled = None if every else SAMPLED
    run = open_finished(directory)
    if run is not None and run.results.get("adapter"):
        return _require(directory, verify_adapter(directory, point, run.results["adapter"]["size"], sampled))
    merged = Checkpoint(written_checkpoint(str(directory), "verify"))
    base, specialists = open_parents(point.base, point.specialists, point.allow_pickle)
    return _require(directory, verify_merge(merged, base, specialists, point.recipe, tensors=sampled, seed=None))


def _require(directory: Path, found: Verification) -> Verification:
    if not found.holds:
        raise UserError(first_differences(f"{directory} does not match its record in", list(found.differing)))
    return found


def _changed_files(directory: Path) -> list[str]:
    """Files that are missing or differ from those the run wrote, and added files that a loader might read."""
    run = open_finished(directory)
    assert run is not None
    present = {name: directory / name for name in run.outputs if (directory / name).is_file()}
    found = hash_files(present, remember=False)  # a cached hash would trust the size and time of the file
    wrong = [f"{name} is missing" for name in run.outputs if name not in present]
    wrong += [f"{name} has changed" for name in present if found[name].sha256 != run.outputs[name].sha256]
    loaded = [
        path
        for pattern in (*SIDE_FILES, "*.safetensors", "*.index.json", "*.bin", "*.py")
        for path in directory.glob(pattern)
    ]
    added = {path.relative_to(directory).as_posix() for path in loaded if path.is_file()} - run.outputs.keys()
    return sorted([*wrong, *(f"{name} was added" for name in added)])
