"""Which elements of a task vector are kept, and how the kept ones are scaled. No coefficients enter.

Magnitude (TIES, arXiv 2306.01708), outliers (Model Breadcrumbs, 2312.06795), Bernoulli (DARE, 2311.03099), MagPrune
(DELLA, 2406.11617).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch

from src.merging.checks import choice, number
from src.merging.draws import stream_seed
from src.merging.ops import PlainOps
from src.merging.parents import Block, Stack
from src.merging.ranks import keep_probabilities
from src.utils.errors import UserError

KINDS = ("none", "magnitude", "outliers", "bernoulli", "magprune")
RESCALES = ("none", "l1", "density")
TINY = 1e-7  # a delta whose absolute sum is below this is not rescaled

Part = Callable[[Block], torch.Tensor]
"""One specialist's sparsified task vector in a block, float32."""

Keeper = Callable[[Block, float, torch.Tensor], object]
"""Writes the kept elements of a block, times a factor, into a tensor."""


@dataclass(frozen=True)
class Sparsity:
    """A sparsifier and its parameters.

    Args:
        kind: `none`, `magnitude` (the largest of the tensor), `outliers` (the largest but for the very largest),
            `bernoulli` (each with probability density) or `magprune` (likelier the larger in its row).
        density: Fraction kept, in (0, 1]; 1 keeps everything.
        epsilon: Half the spread of the keep probabilities of `magprune`; density -+ epsilon stays inside (0, 1).
        gamma: Fraction of the largest elements that `outliers` drops, in [0, 1).
        rescale: `none`; `l1` restores the tensor's absolute sum; `density` divides by each element's keep probability.
        seed: Of the random kinds.

    Raises:
        UserError: A value is out of its range.
    """

    kind: str = "none"
    density: float = 1.0
    epsilon: float = 0.0
    gamma: float = 0.0
    rescale: str = "none"
    seed: int = 0

    def __post_init__(self) -> None:
        choice("sparsify", self.kind, KINDS)
        choice("rescale", self.rescale, RESCALES)
        density = number("density", self.density, 0.0, 1.0)
        epsilon = number("epsilon", self.epsilon, 0.0, 0.5)
        number("gamma", self.gamma, 0.0, 1.0)
        if density == 0:
            raise UserError("merge.density must be above 0: at 0 the merge is the base")
        if self.kind == "magprune" and density < 1 and not (density - epsilon > 0 and density + epsilon < 1):
            raise UserError(
                f"merge.density -+ merge.epsilon must stay inside (0, 1), got {density:g} -+ {epsilon:g}: "
                f"lower merge.epsilon below {min(density, 1 - density):g}"
            )


def fit_sparsity(stack: Stack, index: int, sparsity: Sparsity) -> Part:
    """Prepare the sparsifier for specialist `index` of a tensor; all points that ask for it share one `Part`."""
    if sparsity.kind == "none" or sparsity.density >= 1:
        return stack.once(("dense", index), lambda: lambda block: block.delta(index))
    return stack.once(("sparse", index, sparsity), lambda: _fit(stack, index, sparsity))


def sparsify(delta: torch.Tensor, sparsity: Sparsity, tensor: str = "", specialist: str = "") -> torch.Tensor:
    """Sparsify one whole task vector; the names seed the random kinds.

    Args:
        delta: float32, any shape.
        sparsity: What to keep.
        tensor: Tensor name.
        specialist: Specialist name.
    """
    flat = delta.float().reshape(-1)
    zeros = torch.zeros_like(flat)
    reads = [lambda start, stop, _: zeros[start:stop], lambda start, stop, _: flat[start:stop]]
    with ThreadPoolExecutor(1) as pool:
        stack = Stack(tensor, tuple(delta.shape), [specialist], reads, PlainOps(), pool, flat.device)
        part = fit_sparsity(stack, 0, sparsity)
        return torch.cat(stack.map(lambda block: part(block).clone())).reshape(delta.shape)


def _fit(stack: Stack, index: int, sparsity: Sparsity) -> Part:
    keep = _KEEPERS[sparsity.kind](stack, index, sparsity)
    scale = 1.0
    if sparsity.rescale == "l1":
        scale = _l1_scale(stack, index, keep)
    elif sparsity.rescale == "density" and sparsity.kind != "magprune":
        scale = 1.0 / sparsity.density
    key = ("sparse", index, sparsity)
    return lambda block: block.once(key, lambda out: keep(block, scale, out))


def _l1_scale(stack: Stack, index: int, keep: Keeper) -> float:
    """sum|D| / sum|kept D| of the tensor, or 1 where either is next to nothing."""

    def kept_sum(block: Block) -> list[float]:
        kept = block.once("kept", lambda out: keep(block, 1.0, out))
        return stack.ops.fold(kept, 1)

    before = stack.absolute_sums()[index]
    after = math.fsum(itertools.chain.from_iterable(stack.map(kept_sum)))
    return before / after if before >= TINY and after >= TINY else 1.0


def _largest(stack: Stack, index: int, sparsity: Sparsity) -> Keeper:
    """Keep |D| at or above the k-th largest; elements that tie with it are all kept, as in the paper's own code."""
    kept = max(1, int(sparsity.density * stack.numel))
    [low] = _order_statistics(stack, index, [stack.numel - kept])
    return lambda block, scale, out: stack.ops.keep_between(block.delta(index), low, math.inf, scale, out)


def _without_outliers(stack: Stack, index: int, sparsity: Sparsity) -> Keeper:
    """Keep the k elements below the largest gamma n; where too few are left, fewer outliers go."""
    kept = int(sparsity.density * stack.numel)
    if kept == 0:
        return lambda block, scale, out: out.zero_()
    first = max(0, stack.numel - kept - int(sparsity.gamma * stack.numel))
    low, high = _order_statistics(stack, index, [first, first + kept - 1])
    return lambda block, scale, out: stack.ops.keep_between(block.delta(index), low, high, scale, out)


def _order_statistics(stack: Stack, index: int, positions: list[int]) -> list[float]:
    return stack.ops.order_statistics(stack, ("delta", index), lambda block: block.delta(index), positions)


def _at_random(stack: Stack, index: int, sparsity: Sparsity) -> Keeper:
    seed = stream_seed(sparsity.seed, stack.name, stack.labels[index])
    keep = stack.ops.keep_drawn
    return lambda block, scale, out: keep(block.delta(index), seed, block.start, sparsity.density, scale, out)


def _by_rank(stack: Stack, index: int, sparsity: Sparsity) -> Keeper:
    """MagPrune. Its masks need ranks, so they are kept instead of being found again for every pass."""
    seed = stream_seed(sparsity.seed, stack.name, stack.labels[index])
    mask = stack.ops.rank_mask(stack, index, seed, sparsity.density, sparsity.epsilon)
    keep = stack.ops.keep_masked
    if sparsity.rescale != "density":
        return lambda block, scale, out: keep(block.delta(index), mask, block.start, scale, out)
    probabilities = torch.cat(
        stack.map_rows(
            lambda rows: keep_probabilities(rows.delta(index), stack.row, sparsity.density, sparsity.epsilon)
        )
    )

    def divided(block: Block, scale: float, out: torch.Tensor) -> object:
        keep(block.delta(index), mask, block.start, scale, out)
        return out.div_(probabilities[block.start : block.stop])

    return divided


_KEEPERS = {"magnitude": _largest, "outliers": _without_outliers, "bernoulli": _at_random, "magprune": _by_rank}
