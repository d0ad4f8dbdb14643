"""`merge.py verify=DIR`: is an existing merge what its record says?"""

from __future__ import annotations

from pathlib import Path

from src.checkpoints import Checkpoint
from src.merging.methods import recipe_from
from src.merging.parent import open_parents
from src.merging.verify import Verification, verify_merge
from src.reporting.records import fingerprint, read_record
from src.utils.errors import UserError, first_differences


def verify(directory: Path, allow_pickle: bool = False) -> Verification:
    """Recompute sampled tensors of a merge from the parents and the recipe in its record, and compare.

    Raises:
        UserError: `directory` is no merge, its parents are gone or have changed, or sampled tensors differ.
    """
    record = read_record(directory)
    if record is None or record["stage"] != "merge":
        raise UserError(f"verify={directory}: no run.json of a merge in it")
    places = {name: Path(place) for name, place in record["results"]["parents"].items()}
    changed = [
        f"{name} ({place})"
        for name, place in places.items()
        if not place.is_dir() or fingerprint(place) != record["inputs"][name]
    ]
    if changed:
        raise UserError(first_differences("parents that are gone or no longer what they were", changed))
    base, specialists = open_parents(places.pop("base"), places, allow_pickle)
    found = verify_merge(Checkpoint(directory), base, specialists, recipe_from(record["results"]["recipe"]))
    if not found.holds:
        raise UserError(first_differences(f"{directory} does not hold what its record says", list(found.differing)))
    return found
