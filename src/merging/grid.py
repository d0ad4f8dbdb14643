"""Any number of merge points of the same parents in one pass over their tensors.

Every tensor of every parent is read once and sparsified once a sparsifier; then all points are emitted block by block.
Arithmetic is float32 with one cast on write; nothing depends on the order of tensors or the number of threads.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch

from src.checkpoints import Checkpoint
from src.merging.kinship import check_kinship
from src.merging.ops import Ops, choose_ops
from src.merging.parents import Block, Stack
from src.merging.point_run import PointRun
from src.merging.recipe import Recipe
from src.merging.rule import BlockMerge
from src.merging.sinks import Sink
from src.merging.sources import open_stack
from src.merging.strength import LayerStrength
from src.merging.validate import check_excludes, check_parents
from src.utils.errors import UserError
from src.utils.progress import track


@dataclass(frozen=True)
class Point:
    """A merge point and where its tensors go."""

    recipe: Recipe
    sink: Sink


@dataclass(frozen=True)
class Outcome:
    """What became of a point.

    Args:
        recipe: The point.
        strength: Realised strength by layer; empty where the point failed.
        error: Why the point failed (disk full, a method that cannot take these parents), or None.
    """

    recipe: Recipe
    strength: list[LayerStrength]
    error: UserError | None


def merge_grid(
    base: Checkpoint,
    specialists: Mapping[str, Checkpoint],
    points: Sequence[Point],
    key: str = "",
    workers: int | None = None,
    ops: Ops | None = None,
    device: str = "cpu",
) -> list[Outcome]:
    """Merge all points in one pass; a point that fails leaves the others unharmed.

    Args:
        base: What the specialists were fine-tuned from.
        specialists: K parents by name; their order is that of the coefficients.
        points: Recipes and sinks.
        key: Hash of the parents (say, of their fingerprints): an interrupted merge is only resumed under the same key.
        workers: Threads; None takes all cores. The result does not depend on it.
        ops: Arithmetic, plain or compiled; None takes what is faster. The result does not depend on it.
        device: Where the arithmetic is done; the result does not depend on it.

    Returns:
        One outcome a point, in order.

    Raises:
        UserError: The parents do not belong together, or hold NaN.

    Example:
        >>> [outcome] = merge_grid(base, specialists, [Point(recipe, ToDirectory(path))])  # doctest: +SKIP
    """
    check_parents(base, specialists)
    check_excludes([point.recipe for point in points], base.names)
    check_kinship(base, specialists)
    where = torch.device(device)
    ops = ops or choose_ops(sum(info.numel for info in base.table.values()) * len(points), where)
    runs = [PointRun(point.recipe, point.sink, base, tuple(specialists), key) for point in points]
    try:
        with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
            following = dict(itertools.pairwise(base.names))
            for name in track(base.names, f"merging {len(points)} point{'s' * (len(points) > 1)}"):
                wanting = [run for run in runs if run.wants(name)]
                if wanting:
                    for parent in (base, *specialists.values()):
                        parent.prefetch(following.get(name, name))
                    stack = open_stack(name, base, specialists, ops, pool, where)
                    merge_tensor(stack, wanting)
                    stack.release()
    except BaseException as error:
        for run in runs:
            run.close(error)
        raise
    for run in runs:
        run.close()
    return [Outcome(run.recipe, run.strength(), run.error) for run in runs]


def merge_tensor(stack: Stack, runs: Sequence[PointRun]) -> None:
    """Emit one tensor of all points; one that holds no floating-point numbers is copied."""
    if not runs[0].is_floating(stack.name):
        for run in runs:
            run.copy(stack)
        return
    merges = {run: merge for run in runs if (merge := run.fit(stack)) is not None}
    matched = {run: merge for run, merge in merges.items() if run.recipe.match_norm}
    factors: dict[PointRun, float] = {}
    if matched:
        norms = emit(stack, matched, {}, write=False)
        factors = {run: run.matching_factor(stack, norm) for run, norm in norms.items()}
    for run, norm in emit(stack, merges, factors, write=True).items():
        run.done(stack, norm)


def emit(
    stack: Stack, merges: Mapping[PointRun, BlockMerge], factors: Mapping[PointRun, float], write: bool
) -> dict[PointRun, float]:
    """Merge block by block; returns the Frobenius norm of every point's merged delta.

    Args:
        stack: The tensor.
        merges: What each point does to a block.
        factors: Factor on the merged delta, where a point has one.
        write: Hand the blocks over.
    """
    emitters = stack.ops.emitters(stack.name, merges, factors)

    def work(block: Block) -> list[tuple[PointRun, list[float]]]:
        sums = []
        for emitter in emitters:
            for run, values, squares in emitter(block):
                sums.append((run, squares))
                if write:
                    run.write(stack.name, block.start, values)
        return sums

    totals: dict[PointRun, list[float]] = {run: [] for run in merges}
    for run, squares in itertools.chain.from_iterable(stack.map(work)):
        totals[run] += squares
    return {run: math.sqrt(math.fsum(parts)) for run, parts in totals.items()}
