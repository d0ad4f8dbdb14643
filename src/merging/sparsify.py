"""Which elements of a task vector are kept, and how the kept ones are scaled. No coefficients enter.

Magnitude (TIES, arXiv 2306.01708), outliers (Model Breadcrumbs, 2312.06795), Bernoulli (DARE, 2311.03099), MagPrune
(DELLA, 2406.11617).

Legend: n elements, r row length, u uniform draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from src.merging.checks import choice, number
from src.merging.draws import stream_seed, uniform
from src.merging.parents import Block, Stack, folded
from src.utils.errors import UserError

KINDS = ("none", "magnitude", "outliers", "bernoulli", "magprune")
RESCALES = ("none", "l1", "density")
TINY = 1e-7  # a delta whose absolute sum is below this is not rescaled

SparseBlock = Callable[[Block], torch.Tensor]


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


def fit_sparsity(stack: Stack, index: int, sparsity: Sparsity) -> SparseBlock:
    """Prepare the sparsifier for specialist `index` of a tensor.

    Returns:
        A function of a block that returns the specialist's sparsified task vector there, float32. It is computed once
        a block, however many grid points ask.
    """
    if sparsity.kind == "none" or sparsity.density >= 1:
        return lambda block: block.delta(index)
    sparse = stack.once(("sparse", index, sparsity), lambda: _fit(stack, index, sparsity))
    return lambda block: block.once(("sparse", index, sparsity), lambda: sparse(block))


def sparsify(delta: torch.Tensor, sparsity: Sparsity, tensor: str = "", specialist: str = "") -> torch.Tensor:
    """Sparsify one whole task vector; the names seed the random kinds.

    Args:
        delta: float32, any shape.
        sparsity: What to keep.
        tensor: Tensor name.
        specialist: Specialist name.
    """
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        flat = delta.float().reshape(-1)
        stack = Stack(tensor, tuple(delta.shape), torch.zeros_like(flat), {specialist: flat}, pool)
        return torch.cat(stack.map(fit_sparsity(stack, 0, sparsity))).reshape(delta.shape)


def _fit(stack: Stack, index: int, sparsity: Sparsity) -> SparseBlock:
    keep = _KEEPERS[sparsity.kind](stack, index, sparsity)
    if sparsity.rescale == "density":
        return lambda block: _inverse_probability(block, index, sparsity, keep(block), stack.row)
    if sparsity.rescale == "none":
        return lambda block: block.delta(index) * keep(block)
    scale = _l1_scale(stack, index, keep)
    if scale is None:
        return lambda block: block.delta(index) * keep(block)
    return lambda block: (block.delta(index) * keep(block)).mul_(scale)


def _largest(stack: Stack, index: int, sparsity: Sparsity) -> SparseBlock:
    """Keep |D| at or above the k-th largest; elements that tie with it are all kept, as in the paper's own code."""
    kept = max(1, int(sparsity.density * stack.numel))
    low = order_statistic(stack, index, stack.numel - kept)
    return lambda block: block.delta(index).abs() >= low


def _without_outliers(stack: Stack, index: int, sparsity: Sparsity) -> SparseBlock:
    """Keep the k elements below the largest gamma n; where too few are left, fewer outliers go."""
    kept = int(sparsity.density * stack.numel)
    if kept == 0:
        return lambda block: torch.zeros_like(block.delta(index), dtype=torch.bool)
    first = max(0, stack.numel - kept - int(sparsity.gamma * stack.numel))
    low = order_statistic(stack, index, first)
    high = order_statistic(stack, index, first + kept - 1)
    return lambda block: (block.delta(index).abs() >= low) & (block.delta(index).abs() <= high)


def _at_random(stack: Stack, index: int, sparsity: Sparsity) -> SparseBlock:
    seed = stream_seed(sparsity.seed, stack.name, stack.labels[index])
    density = torch.tensor(sparsity.density)  # float32, as the draws
    return lambda block: uniform(seed, block.start, block.stop, block.base.device) < density


def _by_rank(stack: Stack, index: int, sparsity: Sparsity) -> SparseBlock:
    """MagPrune's masks; they need ranks, so they are packed to bits instead of being found again for every point."""
    seed = stream_seed(sparsity.seed, stack.name, stack.labels[index])

    def mask(block: Block) -> tuple[int, torch.Tensor]:
        keep = keep_probabilities(block.delta(index), stack.row, sparsity.density, sparsity.epsilon)
        return block.start, uniform(seed, block.start, block.stop, block.base.device) < keep

    masks = dict(stack.map(mask))
    return lambda block: masks[block.start]


_KEEPERS = {"magnitude": _largest, "outliers": _without_outliers, "bernoulli": _at_random, "magprune": _by_rank}


def order_statistic(stack: Stack, index: int, position: int) -> torch.Tensor:
    """The |D| of specialist `index` that has `position` smaller ones before it; found by selection, not by sorting."""
    values = torch.cat(stack.map(lambda block: block.delta(index).abs()))
    return values.kthvalue(position + 1).values


def keep_probabilities(delta: torch.Tensor, row: int, density: float, epsilon: float) -> torch.Tensor:
    """DELLA's probabilities (2406.11617): from density - epsilon for the smallest |D| of a row to density + epsilon.

    Args:
        delta: (m * row,), whole rows.
        row: Row length r. Equal magnitudes are ranked in their order of storage.
        density: Mean probability.
        epsilon: Half their spread.

    Returns:
        Probabilities, float32, one-dimensional; a row of one element gets `density`.
    """
    if row == 1:
        return torch.full_like(delta, density)
    magnitudes = delta.abs().reshape(-1, row)
    order = magnitudes.argsort(dim=1, stable=True)
    places = torch.arange(row, dtype=torch.float32, device=delta.device).expand_as(magnitudes)
    ranks = torch.empty_like(magnitudes).scatter_(1, order, places)
    return ((density - epsilon) + ranks.div_(float(row - 1)).mul_(2).mul_(epsilon)).reshape(-1)


def _inverse_probability(block: Block, index: int, sparsity: Sparsity, keep: torch.Tensor, row: int) -> torch.Tensor:
    delta = block.delta(index)
    if sparsity.kind != "magprune":
        return delta * keep / torch.tensor(sparsity.density)
    return delta * keep / keep_probabilities(delta, row, sparsity.density, sparsity.epsilon)


def _l1_scale(stack: Stack, index: int, keep: SparseBlock) -> float | None:
    """sum|D| / sum|kept D| of the tensor, or None where either is next to nothing."""

    def sums(block: Block) -> tuple[list[float], list[float]]:
        size = block.delta(index).abs()
        return folded(size), folded(size * keep(block))

    parts = stack.map(sums)
    before = math.fsum(math.fsum(part[0]) for part in parts)
    after = math.fsum(math.fsum(part[1]) for part in parts)
    return before / after if before >= TINY and after >= TINY else None
