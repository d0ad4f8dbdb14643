"""Jobs of `merge.py`: their parents, recipes and run directories, for a merge and for its dry run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from src.checkpoints.fingerprint import IdentifiedCheckpoint, fingerprint, identify
from src.config.checks import check_merge
from src.evaluation.preflight.choice_checks import coefficient_findings
from src.merging.engine.chat_files import named_files
from src.merging.engine.nested_merges import NestedMerge
from src.merging.recipe import Recipe
from src.runs.paths import checkpoint_label, merge_name
from src.stages.build import build
from src.stages.checkpoints import (
    base_checkpoint,
    model_label,
    named_specialists,
    specialist_checkpoints,
    specialist_names,
)
from src.stages.job import Job, slug
from src.stages.merge.from_recipe import with_recipe
from src.stages.merge.statistics_inputs import statistics_places
from src.utils.errors import UserError
from src.utils.files import sha256_file
from src.utils.progress import say


@dataclass(frozen=True)
class Parents:
    """Checkpoints that the jobs of a sweep may share, and how to read them."""

    base: Path
    specialists: tuple[tuple[str, Path], ...]
    allow_pickle: bool
    device: str

    @classmethod
    def of(cls, cfg: DictConfig) -> Parents:
        """Parents named by `base=` and `specialists.*=`, or the standard run directories."""
        check_merge(cfg)
        if cfg.search is not None and cfg.push_to_hub is not None:
            raise UserError("push_to_hub= uploads one merge, search= makes many; push the one that you choose")
        base, specialists, problems = None, None, []
        try:
            base = base_checkpoint(cfg)
        except UserError as error:
            problems.append(str(error))
        try:
            specialists = specialist_checkpoints(cfg)
        except UserError as error:
            problems.append(str(error))
        if base is None or specialists is None:
            raise UserError("; ".join(problems))
        return cls(base, tuple(specialists.items()), cfg.allow_pickle, cfg.device)

    def identify(self) -> dict[str, IdentifiedCheckpoint]:
        """Every parent by name, with the hashes of its files."""
        return {"base": identify(self.base)} | {name: identify(place) for name, place in self.specialists}


def group_by_parents(jobs: Sequence[Job]) -> tuple[dict[Parents, dict[int, Job]], dict[int, UserError]]:
    """Group jobs by their parents.

    Returns:
        Jobs by parents and position, filled in from their `recipe=`; and the errors of those whose parents are not
        found, by position.
    """
    groups: dict[Parents, dict[int, Job]] = {}
    errors: dict[int, UserError] = {}
    for index, job in enumerate(jobs):
        try:
            filled = with_recipe(job)
            groups.setdefault(Parents.of(filled.cfg), {})[index] = filled
        except UserError as error:
            errors[index] = error
    return groups, errors


def build_recipe(job: Job, specialists: Mapping[str, Mapping[str, str]]) -> tuple[Recipe, dict[str, dict[str, str]]]:
    """Build the recipe of a job.

    Args:
        job: The job.
        specialists: File hashes of each specialist by name, which its statistics must belong to.

    Returns:
        The recipe, and the hashes of the files that it names.

    Raises:
        UserError: A key is wrong, or statistics are missing or belong to other weights.
    """
    statistics = statistics_places(job.cfg, specialists)
    more = {"statistics": {name: str(place) for name, place in statistics.items()}} if statistics else {}
    recipe: Recipe = build(job.cfg.merge, **more)
    _warn_of_coefficients(merge_directory(job, recipe).name, recipe, list(specialists))
    hashes = {f"statistics.{name}": fingerprint(place) for name, place in statistics.items()}
    return recipe, hashes | _files_of(recipe)


def _warn_of_coefficients(owner: str, recipe: Recipe, specialists: Sequence[str]) -> None:
    """Say where coefficients are probably a slip, such as `merge.weight=30` for 0.3."""
    settings, weights = dict(recipe.settings), recipe.coefficients(specialists)
    scale, normalize = settings.get("lambda"), bool(settings.get("normalize"))
    for finding in coefficient_findings(owner, recipe.method, weights, scale, normalize):
        if finding.severity != "note":
            say(f"warning: {finding.sentence}")


def _files_of(recipe: Recipe) -> dict[str, dict[str, str]]:
    """Hashes of the files that a recipe names."""
    named = named_files(recipe).items()
    return {f"merge.{key}": {name: sha256_file(Path(name))} for key, name in named if Path(name).is_file()}


def earlier_merges(parents: Mapping[str, IdentifiedCheckpoint]) -> dict[str, NestedMerge]:
    """Parents that are merges themselves, from their records."""
    runs = {name: parent.run for name, parent in parents.items() if name != "base"}
    return {
        name: NestedMerge(**run.results["nested_merges"])
        for name, run in runs.items()
        if run is not None and run.stage == "merge"
    }


def run_config(job: Job, recipe: Recipe, specialists: Sequence[str]) -> dict[str, Any]:
    """Configuration that determines the result of a merge."""
    described = recipe.describe(specialists)
    return {"recipe": described, "save_weights": job.cfg.save_weights, "adapter": job.cfg.adapter}


def merge_directory(job: Job, recipe: Recipe) -> Path:
    """Run directory of a merge job; its parents need not exist yet.

    Args:
        job: Its parents, model and further overrides determine the name.
        recipe: `job.cfg.merge`, built.
    """
    cfg = job.cfg
    names = specialist_names(cfg)
    one_says_all = recipe.weights is None and len(names) == 2
    words = [one.word for one in recipe.coefficient_schedules(names).values()][: 1 if one_says_all else None]
    owner = model_label(cfg.model) if cfg.base is None else checkpoint_label(str(cfg.base))
    extras = [
        *([slug(Path(cfg.recipe).stem)] if cfg.recipe is not None else []),
        *named_specialists(cfg),
        *job.extras(("recipe", "merge", "merge.weight", "merge.weights", "model", "seed", "save_weights")),
    ]
    return job.directory(merge_name(owner, recipe.method, words, cfg.seed, extras, lazy=not cfg.save_weights))


def as_user_error(error: Exception) -> UserError:
    """Convert an error that the user caused; raise any other."""
    from src.config.command_line import explain

    line = explain(error)
    if line is None:
        raise error
    return UserError(line)
