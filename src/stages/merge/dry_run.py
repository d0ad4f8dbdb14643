"""`merge.py ... dry_run=true`: what a merge would read, do, need and refuse, without merging or writing."""

from __future__ import annotations

import resource
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from src.checkpoints.fingerprint import IdentifiedCheckpoint
from src.merging.engine.differences import parent_differences
from src.merging.engine.nested_merges import resolve_nested_merge
from src.merging.engine.preflight import Forecast, forecast, merge_conflicts
from src.merging.engine.side_files import write_side_files
from src.merging.recipe import Recipe
from src.merging.tensors.parent import Parent, open_parents
from src.reporting.console import print_lines, print_table
from src.reporting.format import duration
from src.runs.finished import open_finished
from src.runs.record import find_run, size_on_disk, work_directory
from src.stages.job import Job
from src.stages.merge.adapter import check_adapter, planned_bytes
from src.stages.merge.hub import check_push
from src.stages.merge.jobs import (
    Parents,
    as_user_error,
    build_recipe,
    earlier_merges,
    group_by_parents,
    merge_directory,
    run_config,
)
from src.stages.merge.parent_rows import PARENT_COLUMNS, gigabytes, parent_rows
from src.stages.merge.room import free_bytes, room_errors, weight_bytes
from src.stages.merge.statistics_inputs import needs_statistics
from src.utils.errors import UserError

Opened = tuple[Parent, Mapping[str, Parent]]


@dataclass(frozen=True)
class PlannedPoint:
    """A job that would be merged.

    Args:
        recipe: Its recipe.
        directory: Run directory.
        state: `new`, `interrupted` or `finished`.
        save_weights: False if only the recipe is kept.
        adapter_bytes: Size of an adapter (`adapter=`); None for a full checkpoint.
    """

    recipe: Recipe
    directory: Path
    state: str
    save_weights: bool
    adapter_bytes: int | None = None

    @property
    def is_written(self) -> bool:
        """True if the merge would write weights."""
        return self.save_weights and self.state != "finished"

    def bytes_on(self, base: Parent) -> int:
        """Bytes of the merged weights."""
        return weight_bytes(base, self.recipe) if self.adapter_bytes is None else self.adapter_bytes


def dry_run(jobs: Sequence[Job]) -> None:
    """Print parents, differences, points, disk, memory and time of the jobs of a command.

    Raises:
        UserError: The merge would fail; all its errors are printed before.
    """
    groups, errors = group_by_parents(jobs)
    problems = [str(error) for error in (*_push_errors(jobs), *errors.values())]
    for parents, group in groups.items():
        problems += _Group(parents, list(group.values())).show()
    problems = list(dict.fromkeys(problems))
    if problems:
        print_lines([f"problem: {problem}" for problem in problems])
        raise UserError(f"dry run: the merge would fail, {len(problems)} problem{'s' * (len(problems) > 1)} (above)")
    print_lines(["dry run: no problem found. Values of the weights (NaN, overflow) are seen only by the merge itself."])


def _push_errors(jobs: Sequence[Job]) -> Iterator[UserError]:
    try:
        check_push(jobs)
    except UserError as error:
        yield error


class _Group:
    """Jobs with the same parents: one pass over these."""

    def __init__(self, parents: Parents, jobs: Sequence[Job]) -> None:
        self.parents = parents
        self.jobs = jobs
        self.specialists = dict(parents.specialists)

    def show(self) -> list[str]:
        """Print the tables of these jobs; returns their problems."""
        points, problems = self._points()
        try:
            opened = open_parents(self.parents.base, self.specialists, self.parents.allow_pickle)
        except UserError as error:
            return [*problems, str(error)]
        print_table("Parents", PARENT_COLUMNS, list(parent_rows({"base": opened[0], **opened[1]})))
        for recipe in _distinct(points):
            found = list(merge_conflicts(*opened, recipe)) or list(self._side_files(recipe))
            problems += [str(error) for error in found]
            if differences := parent_differences(*opened, recipe):
                title = f"Differences from the base (merge.tokenizer={recipe.tokenizer})"
                rows = [(row.parent, row.what, row.detail, row.outcome) for row in differences]
                print_table(title, ("parent", "what", "differences", "the merge"), rows)
        needs = {
            index: (
                point.directory,
                point.bytes_on(opened[0]) - size_on_disk(work_directory(point.directory)),
            )
            for index, point in enumerate(points)
            if point.is_written
        }
        problems += map(str, room_errors(needs).values())
        todo = [point.recipe for point in points if point.state != "finished" and point.adapter_bytes is None]
        measured = None
        if todo and not problems:
            try:
                measured = forecast(*opened, todo, self.parents.device)
                problems += [str(error) for error in measured.errors if error is not None]
            except UserError as error:
                problems.append(str(error))
        print_table("Merge points", POINT_COLUMNS, [_point_row(point, opened[0], self.specialists) for point in points])
        print_lines([*_room(needs), _memory(*opened), *_time(measured, sum(size for _, size in needs.values()))])
        return problems

    @cached_property
    def identified(self) -> dict[str, IdentifiedCheckpoint]:
        """Hashes of the parents, computed only where something has to be compared with them."""
        return self.parents.identify()

    @property
    def hashes(self) -> dict[str, dict[str, str]]:
        """File hashes of base and specialists."""
        return {name: parent.files for name, parent in self.identified.items()}

    def _points(self) -> tuple[list[PlannedPoint], list[str]]:
        points: list[PlannedPoint] = []
        problems: list[str] = []
        nested = any((run := open_finished(path)) and run.stage == "merge" for path in self.specialists.values())
        for job in self.jobs:
            try:
                point = self._point(job)
                points.append(point)
                if nested:
                    weights = {name: self.identified[name].weights for name in self.specialists}
                    recipe = point.recipe.describe(list(self.specialists))
                    resolve_nested_merge(recipe, earlier_merges(self.identified), weights)
            except Exception as error:
                problems.append(str(as_user_error(error)))
        places = Counter(point.directory for point in points)
        problems += [f"{count} points have one run directory, {place}" for place, count in places.items() if count > 1]
        return points, problems

    def _point(self, job: Job) -> PlannedPoint:
        hashes = self.hashes if needs_statistics(job.cfg) else {name: {} for name in self.specialists}
        recipe, taken = build_recipe(job, {name: hashes[name] for name in self.specialists})
        directory = merge_directory(job, recipe)
        state = "new"
        if directory.exists() or work_directory(directory).exists():
            config = run_config(job, recipe, list(self.specialists))
            state = find_run(directory, stage="merge", config=config, inputs=self.hashes | taken)
        size, weights = check_adapter(job.cfg.adapter, job.cfg.save_weights), None
        if size is not None:
            weights = planned_bytes(self.parents.base, self.specialists, recipe, size, self.parents.allow_pickle)
        return PlannedPoint(recipe, directory, state, job.cfg.save_weights, weights)

    def _side_files(self, recipe: Recipe) -> Iterator[UserError]:
        """Errors of the files around the weights, which are written to a place that is removed again."""
        with tempfile.TemporaryDirectory() as place:
            try:
                write_side_files(Path(place), self.parents.base, self.specialists, recipe, self.parents.allow_pickle)
            except UserError as error:
                yield error


def _distinct(points: Sequence[PlannedPoint]) -> list[Recipe]:
    """Recipes that differ in what is checked before the pass."""
    found: dict[tuple[str | None, ...], Recipe] = {}
    for point in points:
        one = point.recipe
        found.setdefault((one.tokenizer, one.template, one.generation_config, one.exclude, one.dtype), one)
    return list(found.values())


POINT_COLUMNS = ("method", "coefficients", "dtype", "size", "state", "run directory")


def _point_row(point: PlannedPoint, base: Parent, specialists: Mapping[str, Path]) -> tuple[str, ...]:
    recipe = point.recipe
    found = recipe.coefficients(list(specialists)).items()
    coefficients = ", ".join(f"{name} {f'{value:.4g}' if isinstance(value, float) else value}" for name, value in found)
    size = gigabytes(point.bytes_on(base)) if point.save_weights else "recipe alone"
    return recipe.method, coefficients, recipe.dtype or "the base's", size, point.state, str(point.directory)


def _room(needs: Mapping[int, tuple[Path, int]]) -> Iterator[str]:
    for disk in dict.fromkeys(free_bytes(place)[0] for place, _ in needs.values()):
        here = [(place, size) for place, size in needs.values() if free_bytes(place)[0] == disk]
        free = free_bytes(here[0][0])[1]
        yield f"disk: {gigabytes(sum(size for _, size in here))} for {len(here)} points, {gigabytes(free)} free"


def _memory(base: Parent, specialists: Mapping[str, Parent]) -> str:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    largest = max(base.table, key=lambda name: base.table[name].numel)
    whole = 4 * base.table[largest].numel * (len(specialists) + 2)
    return (
        f"memory: {gigabytes(peak)} so far (peak of this process), and at most {gigabytes(whole)} more where a "
        f"method takes whole tensors ({largest} of all parents and of the merge in float32)"
    )


def _time(measured: Forecast | None, written: int) -> Iterator[str]:
    if measured is None:
        return
    if measured.seconds is None:
        yield "time: not estimated, the method looks at the whole model first or the sample was too small"
        return
    yield (
        f"time: {duration(measured.seconds)} to read and merge {measured.elements:,} elements, from "
        f"{measured.sampled:,} of a middle layer that took {measured.sample_seconds:.3g} s here; writing "
        f"{gigabytes(written)} comes on top"
    )
