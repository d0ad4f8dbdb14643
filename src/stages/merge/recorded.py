"""Parents and recipe of a merge, read from its record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from src.checkpoints.fingerprint import fingerprint
from src.merging.engine.lazy import LazyMerge
from src.merging.registry import recipe_from
from src.runs.finished import open_finished
from src.utils.errors import UserError, first_differences
from src.utils.files import sha256_json


def recorded_merge(directory: Path, key: str) -> LazyMerge:
    """Parents and recipe of the merge in `directory`, whether its weights were written or not.

    Args:
        directory: Run directory of `merge.py`.
        key: Config key that named it, for messages.

    Raises:
        UserError: It is not a merge, or its parents are missing or have changed; the files are named.
    """
    run = open_finished(directory)
    if run is None or run.stage != "merge":
        raise UserError(f"{key}={directory}: expected the run directory of a merge, with its run.json")
    places = {name: Path(place) for name, place in run.results["parents"].items()}
    # Hashing would read a 15 GB parent; one with unchanged size, time and inode is not read again.
    changed = [line for name, place in places.items() for line in _changes(name, place, run.inputs[name])]
    if changed:
        raise UserError(first_differences(f"{key}={directory}: its parents have changed since", changed))
    recipe = recipe_from(run.results["recipe"])
    named = sha256_json({"merge of": run.inputs, "recipe": run.results["recipe"]})
    return LazyMerge(directory, places.pop("base"), places, recipe, named, run.results["allow_pickle"])


def _changes(name: str, place: Path, recorded: Mapping[str, str]) -> list[str]:
    """Differences between a parent and its record, file by file."""
    if not place.is_dir():
        return [f"{name} is missing ({place})"]
    try:
        found = fingerprint(place)
    except UserError as error:  # a run whose files are not those that it wrote
        return [f"{name}: {error}"]
    names = sorted(file for file in found.keys() | recorded.keys() if found.get(file) != recorded.get(file))
    return [f"{name} has another {place / file}" for file in names]
