"""`merge.py`: one merge point, or every point of a sweep in one pass over the parents."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from src.checkpoints.fingerprint import IdentifiedCheckpoint
from src.merging.engine.adapter_merge import open_adapters
from src.merging.engine.grid import MergeRequest, MergeResult, merge_grid
from src.merging.engine.nested_merges import NestedMerge, resolve_nested_merge
from src.merging.engine.outputs import Sink, ToDirectory, ToNowhere
from src.merging.engine.point import merged_table
from src.merging.engine.side_files import write_side_files
from src.merging.mergekit_yaml.write import write_mergekit_config
from src.merging.recipe import Recipe
from src.merging.tensors.parent import Parent, open_parents
from src.reporting.model_card import CARD
from src.runs.lock import LOOK, Busy
from src.runs.record import Run, begin_run, size_on_disk
from src.stages.job import Job
from src.stages.merge.adapter import NOTICED, check_adapter, remove_network_files, write_merged_adapter
from src.stages.merge.card import card_text
from src.stages.merge.hub import check_push, push_merge
from src.stages.merge.jobs import (
    Parents,
    as_user_error,
    build_recipe,
    earlier_merges,
    group_by_parents,
    merge_directory,
    run_config,
)
from src.stages.merge.room import points_at_once, room_errors, weight_bytes
from src.stages.trackers import check_trackers, mirror_job
from src.utils.errors import UserError, first_differences
from src.utils.files import sha256_json
from src.utils.progress import say

Result = Path | UserError
Ancestry = tuple[Mapping[str, NestedMerge], Mapping[str, str]]
"""Nested merges among the parents, and the hash of the weights of every specialist."""


@dataclass(frozen=True)
class Opened:
    """A job whose run directory is open."""

    index: int
    recipe: Recipe
    run: Run
    save_weights: bool
    adapter: int | str | None = None

    def sink(self, many: bool) -> Sink:
        """Output for the weights; without `save_weights`, they are computed only to measure the realized strength."""
        return ToDirectory(self.run.work, direct=many) if self.save_weights else ToNowhere()


def merge(job: Job) -> Path:
    """Merge one point.

    Returns:
        The run directory, which is the merged checkpoint.

    Raises:
        UserError: The parents do not match, or the point cannot be merged.
    """
    [result] = merge_all([job])
    if isinstance(result, UserError):
        raise result
    return result


def merge_all(jobs: Sequence[Job]) -> list[Result]:
    """Merge the points of many jobs; jobs with the same parents share one pass over them.

    Returns:
        For every job, its run directory or the error that stopped it.
    """
    check_push(jobs)
    for job in jobs:
        check_trackers(job)
    groups, failed = group_by_parents(jobs)
    results: dict[int, Result] = {**failed}
    for parents, group in groups.items():
        try:
            merged = _merge_group(parents, group)
        except UserError as error:  # of these parents; the other groups do not need them
            merged = dict.fromkeys(group, error)
        results |= merged
    for index, job in enumerate(jobs):
        if isinstance(place := results[index], Path):
            mirror_job(job, place)
    return [_pushed(results[index], job) for index, job in enumerate(jobs)]


def _pushed(result: Result, job: Job) -> Result:
    """Upload a merge if its job says so."""
    if job.cfg.push_to_hub is None or isinstance(result, UserError):
        return result
    try:
        say(f"uploaded {push_merge(result, job.cfg)}")
    except UserError as error:
        return error
    return result


def _merge_group(parents: Parents, jobs: dict[int, Job]) -> dict[int, Result]:
    """Merge points of the same parents, as many at a time as this process may open files for.

    Points that another process is merging are left until it has finished or given them up.
    """
    identified = parents.identify()
    results: dict[int, Result] = {}
    left, waits = dict(jobs), False
    while left:
        now = dict(itertools.islice(left.items(), points_at_once()))
        found = _merge_free(parents, identified, now)
        results |= found
        busy = {index: job for index, job in now.items() if index not in found}
        left = {index: job for index, job in left.items() if index not in now} | busy
        if left and not found:
            if not waits:
                say(f"another process is merging {len(left)} of these points; waiting for it")
            waits = True
            time.sleep(LOOK)
    return {index: results[index] for index in jobs}


def _merge_free(
    parents: Parents, identified: Mapping[str, IdentifiedCheckpoint], jobs: dict[int, Job]
) -> dict[int, Result]:
    """Merge the points that no other process is merging; the others have no result."""
    inputs = {name: parent.files for name, parent in identified.items()}
    specialists = {name: inputs[name] for name, _ in parents.specialists}
    results: dict[int, Result] = {}
    opened: list[Opened] = []
    for index, job in jobs.items():
        try:
            adapter = check_adapter(job.cfg.adapter, job.cfg.save_weights)
            recipe, taken = build_recipe(job, specialists)
            run = begin_run(
                merge_directory(job, recipe),
                stage="merge",
                config=run_config(job, recipe, [name for name, _ in parents.specialists]),
                inputs=inputs | taken,
                argv=job.command,
            )
        except Busy:
            continue
        except Exception as error:
            results[index] = as_user_error(error)
            continue
        results[index] = run.directory
        if not run.finished:
            opened.append(Opened(index, recipe, run, job.cfg.save_weights, adapter))
    ancestry = earlier_merges(identified), {name: identified[name].weights for name, _ in parents.specialists}
    results |= {one.index: _merge_adapters(one, parents, ancestry) for one in opened if one.adapter is not None}
    whole = [one for one in opened if one.adapter is None]
    return results | _merge_opened(parents, whole, sha256_json(inputs), ancestry)


def _merge_adapters(item: Opened, parents: Parents, ancestry: Ancestry) -> Result:
    """Merge adapters into an adapter; a point that fails leaves nothing behind."""

    def write() -> None:
        assert item.adapter is not None
        open_adapters(parents.base, dict(parents.specialists), parents.allow_pickle)  # a mistake is said first of all
        _write_around(item, parents, ancestry)
        places = item.run.work, parents.base, dict(parents.specialists)
        found = write_merged_adapter(*places, item.recipe, item.adapter, parents.allow_pickle, parents.device)
        item.run.results |= found | {"mergekit_config": "not written: mergekit merges adapters into full checkpoints"}
        _warn_of_fallbacks(item.recipe, found["fallbacks"])
        if found["adapter"]["lost"]["all"] > NOTICED and item.run.results["nested_merges"]["is_linear"]:
            item.run.results["nested_merges"] |= {"is_linear": False, "reason": f"truncated to rank {item.adapter}"}
        item.run.finish()

    try:
        return _attempt(item, write) or item.run.directory
    except Exception:
        item.run.abandon()
        raise


def _merge_opened(parents: Parents, opened: list[Opened], key: str, ancestry: Ancestry) -> dict[int, Result]:
    """Merge all points in one pass; a point that fails does not affect the others, and leaves nothing behind."""
    failed: dict[int, Result] = {}
    ready = []
    try:
        for item in opened:
            if error := _attempt(item, lambda item=item: _write_around(item, parents, ancestry)):  # type: ignore[misc]
                failed[item.index] = error
            else:
                ready.append(item)
        if not ready:
            return failed
        base, specialists = open_parents(parents.base, dict(parents.specialists), parents.allow_pickle)
        failed |= _without_room(base, ready)
        ready = [item for item in ready if item.index not in failed]
        points = [MergeRequest(item.recipe, item.sink(many=len(ready) > 1)) for item in ready]
        started = time.monotonic()
        merged = merge_grid(base, specialists, points, key, device=parents.device)
    except Exception as error:
        for item in opened:
            if item.index not in failed:
                item.run.abandon()
        if not isinstance(error, UserError):
            raise
        return failed | {item.index: error for item in opened if item.index not in failed}
    share = (time.monotonic() - started) / max(len(ready), 1)
    pairs = zip(ready, merged, strict=True)
    return failed | {item.index: _close(item, result, share, parents, base) for item, result in pairs}


def _attempt(item: Opened, step: Callable[[], None]) -> UserError | None:
    """Take a step of one point; an error of the user or of the disk ends this point alone."""
    try:
        step()
    except (UserError, OSError) as error:
        item.run.abandon()
        return as_user_error(error) if not isinstance(error, OSError) else UserError(f"{item.run.directory}: {error}")
    return None


def _write_around(item: Opened, parents: Parents, ancestry: Ancestry) -> None:
    """Write all but weights and strength: what can fail of it fails before the merge."""
    specialists = dict(parents.specialists)
    recipe = item.recipe.describe(list(specialists))
    item.run.results |= {
        "recipe": recipe,
        "nested_merges": asdict(resolve_nested_merge(recipe, *ancestry)),
        "weights_saved": item.save_weights,
        "allow_pickle": parents.allow_pickle,
        "parents": {name: str(place.absolute()) for name, place in {"base": parents.base, **specialists}.items()},
    }
    write_side_files(item.run.work, parents.base, specialists, item.recipe, parents.allow_pickle)
    if item.adapter is not None:
        remove_network_files(item.run.work)
    if item.save_weights:
        directory, record = item.run.directory, item.run.record
        library = "transformers" if item.adapter is None else "peft"
        evaluations = directory.parent.parent / "evaluate"
        card = card_text(directory.name, library, record["inputs"], item.run.results, record["argv"], evaluations)
        (item.run.work / CARD).write_text(card, encoding="utf-8")


def _without_room(base: Parent, items: Sequence[Opened]) -> dict[int, Result]:
    """Errors of the points for which the disk has no room; they leave nothing behind."""
    needs = {
        item.index: (item.run.directory, weight_bytes(base, item.recipe) - size_on_disk(item.run.work))
        for item in items
        if item.save_weights
    }
    errors = room_errors(needs)
    for item in items:
        if item.index in errors:
            item.run.abandon()
    return {**errors}


def _warn_of_fallbacks(recipe: Recipe, fallbacks: list[str]) -> None:
    if fallbacks:
        message = f"warning: merge={recipe.method} does not apply to, and takes the weighted mean or sum of"
        say(first_differences(message, fallbacks))


def _close(item: Opened, result: MergeResult, seconds: float, parents: Parents, base: Parent) -> Result:
    if result.error is not None:
        item.run.abandon()
        return result.error
    item.run.results |= {"strength": [asdict(layer) for layer in result.strength], "fallbacks": result.fallbacks}
    _warn_of_fallbacks(item.recipe, result.fallbacks)

    def finish() -> None:
        places, table = dict(parents.specialists), merged_table(base, item.recipe)
        written = write_mergekit_config(item.run.work, item.recipe, parents.base, places, table)
        item.run.results["mergekit_config"] = written
        item.run.finish(seconds, result.states)

    return _attempt(item, finish) or item.run.directory
