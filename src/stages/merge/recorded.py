"""Parents and recipe of a merge, read from its record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from src.checkpoints.fingerprint import fingerprint
from src.merging.engine.lazy import LazyMerge
from src.merging.methods.task_vectors import WeightedMean
from src.merging.recipe import Recipe
from src.merging.registry import recipe_from
from src.merging.tensors.lora_adapter import is_adapter
from src.runs.finished import open_finished
from src.stages.checkpoints import is_lazy_merge
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
    named = merge_identity(run.inputs, run.results["recipe"])
    return LazyMerge(directory, places.pop("base"), places, recipe, named, run.results["allow_pickle"])


def merge_identity(inputs: Mapping[str, Any], recipe: Mapping[str, Any]) -> str:
    """Identity of the weights of a merge, known before they are computed: parents and recipe."""
    return sha256_json({"merge of": inputs, "recipe": recipe})


def lazy_merge(directory: Path, key: str) -> LazyMerge | None:
    """Parents and recipe of a checkpoint without whole weights: a lazy merge, or a merged adapter on its base.

    Args:
        directory: A checkpoint.
        key: Config key that named it, for messages.

    Returns:
        None for a checkpoint with whole weights.

    Raises:
        UserError: It is an adapter from elsewhere, or its parents are missing or have changed.
    """
    if is_lazy_merge(directory):
        return recorded_merge(directory, key)
    if not is_adapter(directory):
        return None
    run = open_finished(directory)
    if run is None or run.stage != "merge":
        raise UserError(
            f"{key}={directory} is a LoRA adapter; write the model that it makes of its base first: python merge.py "
            f"merge=linear merge.weight=1 base=BASE specialists.adapter={directory} output=DIR"
        )
    base = Path(run.results["parents"]["base"])
    if changed := _changes("base", base, run.inputs["base"]):
        raise UserError(first_differences(f"{key}={directory}: its base has changed since", changed))
    settings = (("normalize", True),)
    alone = Recipe("src.merging.registry.linear", lambda keys: WeightedMean(**keys), settings, weight=1.0)
    named = sha256_json({"base": run.inputs["base"], "adapter": fingerprint(directory)})
    return LazyMerge(directory, base, {"adapter": directory}, alone, named)


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
