"""`merge.py`: one merge point, or every point of a sweep in one pass over the parents."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from omegaconf import DictConfig

from src.checkpoints.fingerprint import IdentifiedCheckpoint, fingerprint, identify
from src.merging.engine.grid import MergeRequest, MergeResult, merge_grid
from src.merging.engine.nested_merges import NestedMerge, resolve_nested_merge
from src.merging.engine.outputs import Sink, ToDirectory, ToNowhere
from src.merging.engine.side_files import write_side_files
from src.merging.recipe import Recipe
from src.merging.tensors.parent import open_parents
from src.runs.paths import merge_name
from src.runs.record import Inputs, Run, begin_run
from src.stages.build import build
from src.stages.checkpoints import (
    base_checkpoint,
    model_label,
    named_specialists,
    specialist_checkpoints,
    specialist_names,
)
from src.stages.job import Job
from src.stages.merge.statistics_inputs import statistics_places
from src.utils.errors import UserError, first_differences
from src.utils.files import sha256_json
from src.utils.progress import say

Result = Path | UserError


@dataclass(frozen=True)
class Parents:
    """Checkpoints that jobs of one sweep may share, and how to read them."""

    base: Path
    specialists: tuple[tuple[str, Path], ...]
    allow_pickle: bool
    device: str

    @classmethod
    def of(cls, cfg: DictConfig) -> Parents:
        """Parents named by `base=` and `specialists.*=`, or the standard run directories."""
        specialists = tuple(specialist_checkpoints(cfg).items())
        return cls(base_checkpoint(cfg), specialists, cfg.allow_pickle, cfg.device)

    def identify(self) -> dict[str, IdentifiedCheckpoint]:
        """Each with the hashes of its files, by name."""
        return {"base": identify(self.base)} | {name: identify(place) for name, place in self.specialists}


@dataclass(frozen=True)
class Opened:
    """A job whose run directory is open."""

    index: int
    recipe: Recipe
    run: Run
    save_weights: bool

    @property
    def sink(self) -> Sink:
        """Output of the weights; without `save_weights` they are computed only for their realized strength."""
        return ToDirectory(self.run.work) if self.save_weights else ToNowhere()


def merge(job: Job) -> Path:
    """Merge one point.

    Returns:
        The run directory, which is the merged checkpoint.

    Raises:
        UserError: The parents do not fit together, or the point cannot be made.
    """
    [result] = merge_all([job])
    if isinstance(result, UserError):
        raise result
    return result


def merge_all(jobs: Sequence[Job]) -> list[Result]:
    """Merge the points of many jobs; those that share their parents share one pass over them.

    Returns:
        For every job its run directory, or the error that stopped it alone.
    """
    results: list[Result | None] = [None] * len(jobs)
    groups: dict[Parents, list[int]] = {}
    for index, job in enumerate(jobs):
        try:
            groups.setdefault(Parents.of(job.cfg), []).append(index)
        except UserError as error:
            results[index] = error
    for parents, indices in groups.items():
        for index, result in _merge_group(parents, {index: jobs[index] for index in indices}).items():
            results[index] = result
    finished = [result for result in results if result is not None]
    assert len(finished) == len(jobs)
    return finished


def _merge_group(parents: Parents, jobs: dict[int, Job]) -> dict[int, Result]:
    identified = parents.identify()
    inputs = {name: parent.files for name, parent in identified.items()}
    specialists = {name: inputs[name] for name, _ in parents.specialists}
    results: dict[int, Result] = {}
    opened: list[Opened] = []
    for index, job in jobs.items():
        try:
            statistics = statistics_places(job.cfg, specialists)
            more = {"statistics": {name: str(place) for name, place in statistics.items()}} if statistics else {}
            recipe = build(job.cfg.merge, **more)
            taken = {f"statistics.{name}": fingerprint(place) for name, place in statistics.items()}
            run = _begin(job, recipe, parents, inputs | taken)
        except Exception as error:
            results[index] = _as_user_error(error)
            continue
        results[index] = run.directory
        if not run.finished:
            opened.append(Opened(index, recipe, run, job.cfg.save_weights))
    if opened:
        results |= _merge_opened(parents, opened, sha256_json(inputs), earlier_merges(identified))
    return results


def _merge_opened(
    parents: Parents, opened: list[Opened], key: str, earlier: Mapping[str, NestedMerge]
) -> dict[int, Result]:
    """Merge all points in one pass; a point that fails does not affect the others."""
    base, specialists = open_parents(parents.base, dict(parents.specialists), parents.allow_pickle)
    points = [MergeRequest(item.recipe, item.sink) for item in opened]
    started = time.monotonic()
    try:
        merged = merge_grid(base, specialists, points, key, device=parents.device)
    except UserError as error:
        for item in opened:
            item.run.abandon()
        return {item.index: error for item in opened}
    share = (time.monotonic() - started) / len(opened)
    return {
        item.index: _close(item, result, parents, earlier, share) for item, result in zip(opened, merged, strict=True)
    }


def _close(
    item: Opened, result: MergeResult, parents: Parents, earlier: Mapping[str, NestedMerge], seconds: float
) -> Result:
    if result.error is not None:
        item.run.abandon()
        return result.error
    specialists = dict(parents.specialists)
    write_side_files(item.run.work, parents.base, specialists, item.recipe, parents.allow_pickle)
    recipe = item.recipe.describe(list(specialists))
    item.run.results |= {
        "recipe": recipe,
        "nested_merges": asdict(resolve_nested_merge(recipe, earlier)),
        "weights_saved": item.save_weights,
        "allow_pickle": parents.allow_pickle,
        "parents": {name: str(place) for name, place in {"base": parents.base, **specialists}.items()},
        "strength": [asdict(layer) for layer in result.strength],
        "fallbacks": result.fallbacks,
    }
    if result.fallbacks:
        message = f"warning: merge={item.recipe.method} does not apply to, and takes the weighted mean or sum of"
        say(first_differences(message, result.fallbacks))
    item.run.finish(seconds)
    return item.run.directory


def earlier_merges(parents: Mapping[str, IdentifiedCheckpoint]) -> dict[str, NestedMerge]:
    """Nested merges among the parents, from their records."""
    runs = {name: parent.run for name, parent in parents.items() if name != "base"}
    return {
        name: NestedMerge(**run.results["nested_merges"])
        for name, run in runs.items()
        if run is not None and run.stage == "merge"
    }


def _begin(job: Job, recipe: Recipe, parents: Parents, inputs: Inputs) -> Run:
    config = {
        "recipe": recipe.describe([name for name, _ in parents.specialists]),
        "save_weights": job.cfg.save_weights,
    }
    place = merge_directory(job, recipe)
    return begin_run(place, stage="merge", config=config, inputs=inputs, argv=job.command)


def merge_directory(job: Job, recipe: Recipe) -> Path:
    """Directory of a merge job; its parents need not exist yet.

    Args:
        job: The name is made of its parents, model and further overrides.
        recipe: `job.cfg.merge`, built.
    """
    cfg = job.cfg
    names = specialist_names(cfg)
    one_says_all = recipe.weights is None and len(names) == 2
    shown = list(recipe.coefficients(names).values())[: 1 if one_says_all else None]
    owner = model_label(cfg.model) if cfg.base is None else Path(str(cfg.base)).resolve().name
    extras = [
        *named_specialists(cfg),
        *job.extras(("merge", "merge.weight", "merge.weights", "model", "seed", "save_weights")),
    ]
    return job.directory(merge_name(owner, recipe.method, shown, cfg.seed, extras, lazy=not cfg.save_weights))


def _as_user_error(error: Exception) -> UserError:
    """Convert an error that the user caused; raise any other."""
    from src.config.command_line import explain

    line = explain(error)
    if line is None:
        raise error
    return UserError(line)
