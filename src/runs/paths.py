"""Standard names of run directories: a run is named after its settings, never after the time.

Plain arguments only; `src/stages` reads them from a config.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from src.utils.files import sha256_json

# Names that many runs give to directories inside them: they say nothing without the name of the run.
_INNER = re.compile(
    r"(checkpoint|global_?step|step|epoch|iter)[-_]?\d*|final|best|last|latest|merged|model|output|hf|export",
    re.IGNORECASE,
)
_COMMIT = re.compile(r"[0-9a-f]{40}")
LONGEST_REVISION = 7


def run_path(output_root: str | Path, stage: str, name: str) -> Path:
    """Directory of a run: `runs/train/pocket-mix-s0`."""
    return Path(output_root) / stage / name


def training_name(model: str, strategy: str, task: str | None, seed: int, extras: Iterable[str] = ()) -> str:
    """Name of a training run: `pocket-specialist-codegen-s0`.

    Args:
        model: Label of the model.
        strategy: Choice of conf/strategy.
        task: Task, if the strategy trains on one.
        seed: Of training.
        extras: Words for settings that differ from the standard ones.
    """
    return "-".join([model, strategy, *([task] if task else []), *extras, f"s{seed}"])


def merge_name(
    base: str,
    method: str,
    coefficients: Sequence[float | str],
    seed: int,
    extras: Iterable[str] = (),
    lazy: bool = False,
) -> str:
    """Name of a merge: `pocket-ties-w0.3-s0`, and `pocket-ties-w0.3-s0-recipe` where its weights are not saved.

    Args:
        base: Label of the model, or name of the base's directory.
        method: Choice of conf/merge.
        coefficients: Of the specialists, or words for them; of two that sum to 1, only the first is shown.
        seed: Of the run.
        extras: Words for settings that differ from the standard ones.
        lazy: Whether the run holds only its recipe.
    """
    weights = "w" + "-".join(value if isinstance(value, str) else f"{value:g}" for value in coefficients)
    return "-".join([base, method, *extras, weights, f"s{seed}", *(["recipe"] if lazy else [])])


def checkpoint_label(path: str | Path) -> str:
    """Name of a checkpoint in the names of runs.

    Args:
        path: A directory, or a name of the Hub with or without `@revision`.

    Example:
        >>> checkpoint_label("/data/runA/checkpoint-500")
        'runA-checkpoint-500'
        >>> checkpoint_label("org/name@main")
        'name@main'
    """
    place = Path(os.path.expanduser(path))
    if not place.exists():
        return place.name
    place = place.absolute() if place.name not in ("", ".", "..") else place.resolve()
    if origin := hub_origin(place):
        name, commit = origin
        return f"{name.rpartition('/')[2]}-{commit[:LONGEST_REVISION]}"
    return f"{place.parent.name}-{place.name}" if _INNER.fullmatch(place.name) and place.parent.name else place.name


def hub_origin(directory: Path) -> tuple[str, str] | None:
    """Hub name and commit of a snapshot in the Hugging Face cache; None for any other directory.

    Example:
        >>> hub_origin(Path("hub/models--org--name/snapshots") / ("a" * 40))[0]
        'org/name'
    """
    repository = directory.parent.parent.name
    if not _COMMIT.fullmatch(directory.name) or directory.parent.name != "snapshots":
        return None
    return (repository[8:].replace("--", "/", 1), directory.name) if repository.startswith("models--") else None


def words_for_parents(
    given: Mapping[str, Path], standard: Mapping[str, str], output_root: str | Path = "runs"
) -> list[str]:
    """A hash for the name of a run with non-standard parents: `["3f1c20"]`, else nothing.

    Args:
        given: Directory of each parent by name.
        standard: Name of its standard run directory.
        output_root: Directory of all runs; a study that is moved as a whole keeps its names.
    """
    names = {task: path.name for task, path in given.items()}
    # The whole path, because many runs have a checkpoint-500.
    typed = {task: os.path.normpath(path) for task, path in given.items()}
    inside = os.path.normpath(output_root) + os.sep
    places = {task: path.removeprefix(inside) for task, path in typed.items()}
    return [] if names == dict(standard) else [sha256_json(places)[:6]]
