"""Merge jobs as points in memory: no run directory, no weights on disk, parents opened once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from src.checkpoints.fingerprint import IdentifiedCheckpoint
from src.merging.engine.lazy import LazyMerge
from src.merging.engine.side_files import write_side_files
from src.merging.recipe import Recipe
from src.merging.tensors.parent import Parent, open_parents
from src.stages.job import Job
from src.stages.merge.jobs import Parents, as_user_error, build_recipe, group_by_parents
from src.stages.merge.recorded import merge_identity
from src.utils.errors import UserError
from src.utils.files import sha256_json

AROUND = ("tokenizer", "template", "generation_config")  # keys of a recipe that decide the files around the weights


def lazy_points(jobs: Sequence[Job], scratch: Path) -> list[LazyMerge | UserError]:
    """Jobs of `merge.py` as points that are merged into a model in memory.

    Args:
        jobs: Their keys about outputs are ignored.
        scratch: Directory for config and tokenizer of the merges, which points share.

    Returns:
        For every job its point, with the identity that its written merge would have, or the error that stops it.
    """
    groups, failed = group_by_parents(jobs)
    found: dict[int, LazyMerge | UserError] = {**failed}
    for parents, group in groups.items():
        try:
            identified = parents.identify()
            opened = open_parents(parents.base, dict(parents.specialists), parents.allow_pickle)
        except UserError as error:
            found |= dict.fromkeys(group, error)
            continue
        for index, job in group.items():
            try:
                found[index] = _point(job, parents, identified, opened, scratch)
            except Exception as error:
                found[index] = as_user_error(error)
    return [found[index] for index in range(len(jobs))]


def _point(
    job: Job,
    parents: Parents,
    identified: Mapping[str, IdentifiedCheckpoint],
    opened: tuple[Parent, Mapping[str, Parent]],
    scratch: Path,
) -> LazyMerge:
    inputs = {name: parent.files for name, parent in identified.items()}
    specialists = dict(parents.specialists)
    recipe, more = build_recipe(job, {name: inputs[name] for name in specialists})
    identity = merge_identity(inputs | more, recipe.describe(list(specialists)))
    files = files_around(
        parents, recipe, scratch / sha256_json([inputs, [getattr(recipe, key) for key in AROUND]])[:16]
    )
    return LazyMerge(files, parents.base, specialists, recipe, identity, parents.allow_pickle, opened)


def recipe_points(parents: Parents, recipes: Sequence[Recipe], files: Path) -> list[LazyMerge]:
    """Recipes for the same parents as points.

    Args:
        parents: Base and specialists.
        recipes: One or more that agree on tokenizer, template and generation config.
        files: Directory for config and tokenizer of the merges.
    """
    specialists = dict(parents.specialists)
    inputs = {name: parent.files for name, parent in parents.identify().items()}
    opened = open_parents(parents.base, specialists, parents.allow_pickle)
    around = files_around(parents, recipes[0], files)
    return [
        LazyMerge(
            around, parents.base, specialists, recipe, merge_identity(inputs, recipe.describe(list(specialists))),
            parents.allow_pickle, opened,
        )
        for recipe in recipes
    ]  # fmt: skip


def files_around(parents: Parents, recipe: Recipe, directory: Path) -> Path:
    """Write config and tokenizer of a merge whole or not at all, unless they are there; points share them."""
    if not directory.is_dir():
        building = directory.with_suffix(".building")
        building.mkdir(parents=True, exist_ok=True)
        write_side_files(building, parents.base, dict(parents.specialists), recipe, parents.allow_pickle)
        building.rename(directory)
    return directory
