"""Merge any number of points of the same parents in one pass over their tensors.

Every tensor of every parent is read once and sparsified once per sparsifier; then all points are merged block by block.
Arithmetic is in float32 with one cast on write; nothing depends on the order of tensors or the number of threads.
"""

from __future__ import annotations

import importlib.util
import itertools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import torch

from src.merging.backend.torch_ops import TorchOps
from src.merging.engine.check_parents import check_excludes, check_parents, check_same_base
from src.merging.engine.outputs import Sink
from src.merging.engine.point import LayerStrength, MergeInProgress
from src.merging.recipe import Recipe
from src.merging.schedule import Schedule, depths
from src.merging.tensors.blocks import Block, BlockResult, PointMerge
from src.merging.tensors.matching import match_tensors
from src.merging.tensors.parent import Parent
from src.merging.tensors.parent_model import ParentModel
from src.merging.tensors.parent_tensors import Ops, ParentTensors
from src.merging.tensors.reading import Held, open_tensor
from src.merging.tensors.vocabulary import Aligned, align_vocabulary
from src.runs.file_hashes import FileState
from src.utils.errors import UserError
from src.utils.progress import track
from src.utils.threads import cpu_threads

WORTH_COMPILING = 50_000_000  # elements times points; below this, loading the compiler takes longer than it saves
WAITING = 2  # more threads, if some wait for writes that bypass the page cache
GPU_THREADS = 2  # one block is written while the next is computed; each holds memory on the device


@dataclass(frozen=True)
class MergeRequest:
    """A merge point and the output for its tensors."""

    recipe: Recipe
    sink: Sink


@dataclass(frozen=True)
class MergeResult:
    """Strength or error of a merge point.

    Args:
        recipe: The point.
        strength: Realized strength by layer; empty if the point failed.
        fallbacks: Matrices merged by a plain weighted mean or sum because the method does not apply to them.
        states: Files that were hashed while they were written.
        error: Reason of failure (disk full, a method that cannot take these parents), or None.
    """

    recipe: Recipe
    strength: list[LayerStrength]
    fallbacks: list[str]
    states: Mapping[str, FileState]
    error: UserError | None


def merge_grid(
    base: Parent,
    specialists: Mapping[str, Parent],
    points: Sequence[MergeRequest],
    key: str = "",
    names: Collection[str] | None = None,
    workers: int | None = None,
    ops: Ops | None = None,
    device: str = "cpu",
) -> list[MergeResult]:
    """Merge all points in one pass; a failing point does not affect the others.

    Args:
        base: Model that the specialists were fine-tuned from.
        specialists: K parents by name, in the order of the coefficients.
        points: Recipes and sinks.
        key: Hash of the parents; an interrupted merge is resumed only under the same key.
        names: Only these tensors; None merges all.
        workers: Threads; None uses all cores. The result does not depend on it.
        ops: Arithmetic, in torch or compiled; None picks the faster. The result does not depend on it.
        device: Device of the arithmetic; the result does not depend on it.


    Returns:
        One result per point, in order.

    Raises:
        UserError: The parents do not match, or contain NaN.

    Example:
        >>> [result] = merge_grid(base, specialists, [MergeRequest(recipe, ToDirectory(path))])  # doctest: +SKIP
    """
    check_excludes([point.recipe for point in points], base.names)
    alignments = [_alignment(point.recipe, tuple(specialists)) for point in points]
    families = aligned_families(base, specialists, [mode for mode, _ in alignments] or ["equal"])
    runs: dict[int, MergeInProgress] = {}
    for mode, family in families.items():
        shared: dict[Coefficients, list[MergeInProgress]] = {}
        for index, (point, (own, values)) in enumerate(zip(points, alignments, strict=True)):
            if own == mode:
                runs[index] = MergeInProgress(point.recipe, point.sink, family.base, tuple(specialists), key)
                shared.setdefault(values, []).append(runs[index])
        places = depths(family.base.names)
        groups = [
            (family.weighted(partial(_coefficients_of, values, places) if values else None), group)
            for values, group in shared.items()
        ]
        one_pass(groups or [(family, [])], names, workers, ops, torch.device(device))
    ordered = [run for _, run in sorted(runs.items())]
    return [MergeResult(run.recipe, run.strength(), run.fallbacks(), run.states(), run.error) for run in ordered]


Coefficients = tuple[Schedule, ...] | None
Group = tuple[Aligned, Sequence[MergeInProgress]]
"""Points, and the parents as they see them; those of several groups differ only in `Aligned.tall`."""


def _alignment(recipe: Recipe, labels: tuple[str, ...]) -> tuple[str, Coefficients]:
    """Mode of `align_vocabulary`, and the coefficients where its rows depend on them.

    They do with three specialists or more, for a token that one of them lacks.
    """
    if recipe.tokenizer in ("base", "union") and len(labels) > 2:
        return recipe.tokenizer, tuple(recipe.coefficient_schedules(labels).values())
    return recipe.tokenizer, None


def aligned_families(base: Parent, specialists: Mapping[str, Parent], modes: Sequence[str]) -> dict[str, Aligned]:
    """Align and check the parents in each mode of `align_vocabulary`."""
    base, specialists = match_tensors(base, specialists)
    families = {mode: align_vocabulary(base, specialists, mode) for mode in dict.fromkeys(modes)}
    for mode, family in families.items():
        check_parents(family.base, family.specialists, same_tokens=mode == "equal")
        check_same_base(family.base, family.specialists)
    return families


def _coefficients_of(schedules: Sequence[Schedule], places: Mapping[str, float], name: str) -> list[float]:
    return [one.at(name, places[name]) for one in schedules]


def one_pass(
    groups: Sequence[Group], names: Collection[str] | None, workers: int | None, ops: Ops | None, device: torch.device
) -> None:
    """Merge all points whose receivers are open, and close them; see `merge_grid`.

    A tensor is opened once for all groups, one whose rows are the vocabulary once for each.
    """
    [(first, _), *_] = groups
    runs = [run for _, group in groups for run in group]
    wanted = [name for name in first.base.names if names is None or name in names]
    ops = ops or choose_ops(sum(first.base.table[name].numel for name in wanted) * len(runs), device)
    following, held = dict(itertools.pairwise(wanted)), Held()
    try:
        with ThreadPoolExecutor(workers or (_cpu_threads(runs) if device.type == "cpu" else GPU_THREADS)) as pool:
            for family, group in groups:
                look_at_model(family.base, family.specialists, group, ops, pool, device)
            for name in track(wanted, f"merging {len(runs)} point{'s' * (len(runs) > 1)}"):
                for family, group in groups if name in first.tall else [(first, runs)]:
                    wanting = [run for run in group if run.wants(name)]
                    if wanting:
                        for parent in (family.base, *family.specialists.values()):
                            parent.prefetch(following.get(name, name))
                        tensors = open_tensor(name, family.base, family.specialists, ops, pool, device, held)
                        merge_tensor(tensors, wanting)
                        tensors.release()
    except BaseException as error:
        for run in runs:
            run.close(error)
        raise
    for run in runs:
        run.close()


def look_at_model(
    base: Parent,
    specialists: Mapping[str, Parent],
    runs: Sequence[MergeInProgress],
    ops: Ops,
    pool: ThreadPoolExecutor,
    device: torch.device,
) -> None:
    """Let the rules that need it look at the whole model; points that merge the same tensors look together."""
    models: dict[tuple[str, ...], ParentModel] = {}
    looking = [(run, run.merged_names()) for run in runs if run.needs_model]
    for run, names in looking:
        models.setdefault(names, ParentModel(names, base, specialists, ops, pool, device))
        run.ask(models[names])
    for run, names in looking:
        run.look_at(models[names])


def _cpu_threads(runs: Sequence[MergeInProgress]) -> int:
    """All cores; a few threads more where some of them wait for the disk."""
    return cpu_threads() + (WAITING if any(run.waits for run in runs) else 0)


def merge_tensor(tensors: ParentTensors, runs: Sequence[MergeInProgress]) -> None:
    """Merge one tensor at all points; a tensor without floating-point numbers, or an empty one, is copied."""
    if not runs[0].is_floating(tensors.name) or tensors.numel == 0:
        for run in runs:
            run.copy(tensors)
        return
    points = [point for index, run in enumerate(runs) if (point := run.point_merge(tensors, index)) is not None]
    unmatched = [point for point in points if runs[point.index].recipe.match_norm]
    if unmatched:  # a first pass measures the norms that the factors correct
        norms = merge_blocks(tensors, unmatched, lambda block, result: None)
        factors = {index: runs[index].matching_factor(tensors, norm) for index, norm in norms.items()}
        points = [replace(point, factor=factors.get(point.index, 1.0)) for point in points]

    def write(block: Block, result: BlockResult) -> None:
        runs[result.index].write(tensors.name, block.start, result.values, result.largest)

    merges = {point.index: point.merge for point in points}
    for index, norm in merge_blocks(tensors, points, write).items():
        runs[index].done(tensors, norm, merges[index])


def merge_blocks(
    tensors: ParentTensors, points: Sequence[PointMerge], receive: Callable[[Block, BlockResult], None]
) -> dict[int, float]:
    """Merge block by block; returns the Frobenius norm of every point's merged delta, by its index.

    Args:
        tensors: The tensor.
        points: Merges of it.
        receive: Called with every merged block, from several threads.
    """
    mergers = tensors.ops.block_mergers(points)

    def work(block: Block) -> list[tuple[int, list[float]]]:
        sums = []
        for merger in mergers:
            for result in merger(block):
                sums.append((result.index, result.squares))
                receive(block, result)
        return sums

    totals: dict[int, list[float]] = {point.index: [] for point in points}
    for index, squares in itertools.chain.from_iterable(tensors.map(work)):
        totals[index] += squares
    return {index: math.sqrt(math.fsum(parts)) for index, parts in totals.items()}


def choose_ops(work: int, device: torch.device) -> Ops:
    """The arithmetic for `work` (elements times points): compiled if numba is installed and worth loading.

    The results are bitwise equal either way.
    """
    if device.type != "cpu":
        return TorchOps(block=1 << 24)  # a GPU is faster with few large kernels
    if work < WORTH_COMPILING or importlib.util.find_spec("numba") is None:
        return TorchOps()
    from src.merging.backend.numba_ops import NumbaOps

    return NumbaOps()
