"""A merge as its record describes it: parents and recipe, enough to make it again."""

from __future__ import annotations

from pathlib import Path

from src.merging.engine.lazy import LazyMerge
from src.merging.registry import recipe_from
from src.runs.record import fingerprint, read_record
from src.utils.errors import UserError, first_differences
from src.utils.files import sha256_json


def recorded_merge(directory: Path, key: str) -> LazyMerge:
    """Parents and recipe of the merge in `directory`, whether its weights were written or not.

    Args:
        directory: Run directory of `merge.py`.
        key: Config key that named it, for messages.

    Raises:
        UserError: It is no merge, or its parents are gone or have changed.
    """
    record = read_record(directory)
    if record is None or record["stage"] != "merge":
        raise UserError(f"{key}={directory}: no run.json of a merge in it")
    results = record["results"]
    places = {name: Path(place) for name, place in results["parents"].items()}
    changed = [
        f"{name} ({place})"
        for name, place in places.items()
        if not place.is_dir() or fingerprint(place) != record["inputs"][name]
    ]
    if changed:
        raise UserError(first_differences("parents that are gone or no longer what they were", changed))
    recipe = recipe_from(results["recipe"])
    named = sha256_json({"merge of": record["inputs"], "recipe": results["recipe"]})
    return LazyMerge(directory, places.pop("base"), places, recipe, named, results["allow_pickle"])
