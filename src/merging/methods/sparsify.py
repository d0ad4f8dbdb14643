"""Sparsifiers decide which elements of a task vector are kept and how they are rescaled. They need no coefficients.

Magnitude (TIES, arXiv 2306.01708), outliers (Model Breadcrumbs, 2312.06795), Bernoulli (DARE, 2311.03099), MagPrune
(DELLA, 2406.11617).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field

from src.merging.backend.counter_rng import stream_seed
from src.merging.backend.della_probabilities import keep_probabilities
from src.merging.backend.model_ranks import ModelRanked, ask, model_largest, places_of_largest
from src.merging.tensors.blocks import Block, BlockFunction, Delta
from src.merging.tensors.parent_model import ParentModel
from src.merging.tensors.parent_tensors import ParentTensors, Ranked
from src.utils.errors import UserError
from src.utils.validation import checked_dataclass

Kind = Literal["none", "magnitude", "outliers", "bernoulli", "magprune"]
Rescale = Literal["none", "l1", "density"]
Trim = Literal["tensor", "model"]
TINY = 1e-7  # a delta whose absolute sum is below this is not rescaled

Keeper = Callable[[Block, float, torch.Tensor], int]
"""Writes the kept elements of a block, times a factor, into a tensor; returns how many are not 0."""


@checked_dataclass("merge")
class Sparsity:
    """A sparsifier and its parameters.

    Args:
        kind: `none`, `magnitude` (the tensor's largest), `outliers` (the largest except the very largest),
            `bernoulli` (each with probability density) or `magprune` (more likely the larger it is in its row).
        density: Fraction kept, in (0, 1]; 1 keeps everything.
        epsilon: Half the spread of the keep probabilities of `magprune`; density -+ epsilon stays inside (0, 1).
        gamma: Fraction of the largest elements that `outliers` drops, in [0, 1).
        rescale: `none`; `l1` restores the tensor's absolute sum; `density` divides by each element's keep probability.
        seed: Seed of the random kinds.
        trim: Whether `magnitude` ranks within each tensor or over the whole model, see `over_model`.
        cuts: The last element of each specialist that is kept, once `over_model` has found it.

    Raises:
        UserError: A value is out of its range.
    """

    kind: Kind = "none"
    density: Annotated[float, Field(gt=0, le=1)] = 1.0
    epsilon: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    gamma: Annotated[float, Field(ge=0, le=1)] = 0.0
    rescale: Rescale = "none"
    seed: int = 0
    trim: Trim = "tensor"
    cuts: tuple[ModelRanked, ...] = ()

    def __post_init__(self) -> None:
        low, high = self.density - self.epsilon, self.density + self.epsilon
        if self.kind == "magprune" and self.density < 1 and not (low > 0 and high < 1):
            raise UserError(
                f"merge.density -+ merge.epsilon must stay inside (0, 1), got {self.density:g} -+ {self.epsilon:g}: "
                f"lower merge.epsilon below {min(self.density, 1 - self.density):g}"
            )


def sparsities(kind: Kind, **settings: Any) -> Sparsity | tuple[Sparsity, ...]:
    """One sparsifier, or one per specialist where a setting is a tuple of K numbers."""
    counts = {len(value) for value in settings.values() if isinstance(value, tuple)}
    if not counts:
        return Sparsity(kind, **settings)
    [count] = counts
    each = [{key: v[k] if isinstance(v, tuple) else v for key, v in settings.items()} for k in range(count)]
    return tuple(Sparsity(kind, **one) for one in each)


def over_model(sparsity: Sparsity, model: ParentModel) -> Sparsity:
    """Find the k largest elements of each specialist's whole task vector.

    k = int(density * n) of the n elements in all tensors that are merged. The authors of TIES keep one more, and all
    that tie with the last; here ties go to the first in the order of tensor names, then in storage order.
    """
    counts = _counts_over(sparsity, model)
    deltas = [Delta(k) for k in range(len(counts))]
    cuts = model.once(("cuts", tuple(counts)), lambda: model_largest(model, "delta", deltas, counts))
    return replace(sparsity, cuts=tuple(cuts))


def ask_for_cuts(sparsity: Sparsity, model: ParentModel) -> None:
    """Name the ranks that `over_model` will look up."""
    ask(model, "delta", places_of_largest(model, _counts_over(sparsity, model)))


def _counts_over(sparsity: Sparsity, model: ParentModel) -> list[int]:
    return [max(1, int(sparsity.density * model.numel))] * len(model.labels)


def prepare_sparsity(tensors: ParentTensors, sparsity: Sparsity) -> tuple[BlockFunction, ...]:
    """Prepare a sparsifier for one tensor of all K specialists, so that each pass over the tensor serves all of them.

    All points with this sparsifier share the result.
    """
    if sparsity.kind == "none" or sparsity.density >= 1:
        return dense(tensors)
    return tensors.once(("sparse", sparsity), lambda: _fit(tensors, sparsity))


def prepare_each(tensors: ParentTensors, sparsities: Sequence[Sparsity]) -> tuple[BlockFunction, ...]:
    """Prepare one tensor of K specialists, each with its own sparsifier; one that keeps all is counted too."""
    return tuple(
        SparsePart(("whole", k), partial(_keep_all, k), 1.0) if one.density >= 1 else prepare_sparsity(tensors, one)[k]
        for k, one in enumerate(sparsities)
    )


def _keep_all(index: int, block: Block, scale: float, out: torch.Tensor) -> int:
    return int(torch.count_nonzero(out.copy_(block.delta(index)).mul_(scale)))


def dense(tensors: ParentTensors) -> tuple[BlockFunction, ...]:
    """The whole task vectors of one tensor."""
    return tensors.once("dense", lambda: tuple(map(Delta, range(len(tensors.labels)))))


def _fit(tensors: ParentTensors, sparsity: Sparsity) -> tuple[BlockFunction, ...]:
    keepers = _KEEPERS[sparsity.kind](tensors, sparsity)
    scales = [1.0] * len(keepers)
    if sparsity.rescale == "l1":
        scales = _l1_scales(tensors, keepers)
    elif sparsity.rescale == "density" and sparsity.kind != "magprune":
        scales = [1.0 / sparsity.density] * len(keepers)
    pairs = enumerate(zip(keepers, scales, strict=True))
    return tuple(SparsePart(("sparse", k, sparsity), keep, scale) for k, (keep, scale) in pairs)


class SparsePart:
    """The kept part of one specialist's task vector, as a function of the block, and how much of it was kept.

    Args:
        key: Names the result within a block.
        keep: Of one block.
        scale: Factor on what is kept.
    """

    def __init__(self, key: Any, keep: Keeper, scale: float) -> None:
        self._key = key
        self._keep = keep
        self._scale = scale
        self._counts: dict[int, int] = {}  # by the start of the block: a block may be merged more than once

    def __call__(self, block: Block) -> torch.Tensor:
        """The kept part of a block."""
        return block.once(self._key, partial(self._fill, block))

    @property
    def kept(self) -> int:
        """Elements that were kept and are not 0, once all blocks are merged."""
        return sum(self._counts.values())

    def _fill(self, block: Block, out: torch.Tensor) -> None:
        self._counts[block.start] = self._keep(block, self._scale, out)


def _l1_scales(tensors: ParentTensors, keepers: Sequence[Keeper]) -> list[float]:
    """sum|D| / sum|kept D| of every specialist's tensor, or 1 if either sum is below 1e-7."""

    def kept_sums(block: Block) -> list[list[float]]:
        kept = [block.once(("kept", k), partial(keep, block, 1.0)) for k, keep in enumerate(keepers)]
        return [tensors.ops.deterministic_sums(values, 1) for values in kept]

    parts = tensors.map(kept_sums)
    after = [math.fsum(itertools.chain.from_iterable(part[k] for part in parts)) for k in range(len(keepers))]
    pairs = zip(tensors.absolute_sums(), after, strict=True)
    return [before / kept if before >= TINY and kept >= TINY else 1.0 for before, kept in pairs]


def _largest(tensors: ParentTensors, sparsity: Sparsity) -> list[Keeper]:
    """Keep exactly the k largest |D|; ties for the last place go to the first in storage order, as in mergekit."""
    if sparsity.trim == "model":
        return [_between(tensors, k, _band_until(cut, tensors)) for k, cut in enumerate(sparsity.cuts)]
    kept = max(1, int(sparsity.density * tensors.numel))
    found = _order_statistics(tensors, [kept - 1], descending=True)
    return [_between(tensors, k, Band(last.magnitude, 0, last.index + 1)) for k, [last] in enumerate(found)]


def _band_until(cut: ModelRanked, tensors: ParentTensors) -> Band:
    """Magnitudes of one tensor that are kept if `cut` is the last of the model that is."""
    if tensors.name == cut.tensor:
        return Band(cut.magnitude, 0, cut.index + 1)
    return Band(cut.magnitude, 0, tensors.numel if tensors.name < cut.tensor else 0)


def _without_outliers(tensors: ParentTensors, sparsity: Sparsity) -> list[Keeper]:
    """Keep exactly the k elements below the largest gamma n; if too few are left, fewer outliers are dropped.

    Equal magnitudes rank in storage order, as in mergekit.
    """
    kept = int(sparsity.density * tensors.numel)
    if kept == 0:
        return [_nothing] * len(tensors.labels)
    start = max(0, tensors.numel - kept - int(sparsity.gamma * tensors.numel))
    found = _order_statistics(tensors, [start, start + kept - 1], descending=False)
    bands = [Band(first.magnitude, first.index, tensors.numel, last.magnitude, last.index + 1) for first, last in found]
    return [_between(tensors, k, band) for k, band in enumerate(bands)]


def _nothing(block: Block, scale: float, out: torch.Tensor) -> int:
    out.zero_()
    return 0


@dataclass(frozen=True)
class Band:
    """Magnitudes that are kept; those that equal a bound are kept only at some positions, so that exactly k remain.

    Args:
        low: Lower bound.
        first: Elements equal to it are kept from this position on,
        last: and before this one.
        high: Upper bound.
        high_last: Elements equal to it are kept before this position.
    """

    low: float
    first: int
    last: int
    high: float = math.inf
    high_last: int = 0

    def bounds(self, index: int) -> tuple[float, float]:
        """Smallest and largest magnitude that is kept at a position."""
        low, high = np.float32(self.low), np.float32(self.high)
        if not self.first <= index < self.last:
            low = np.nextafter(low, np.float32(math.inf))
        if self.high < math.inf and index >= self.high_last:
            high = np.nextafter(high, np.float32(-math.inf))
        return float(low), float(high)


def _between(tensors: ParentTensors, index: int, band: Band) -> Keeper:
    def keep(block: Block, scale: float, out: torch.Tensor) -> int:
        delta = block.delta(index)
        inside = {place for place in (band.first, band.last, band.high_last) if block.start < place < block.stop}
        kept = 0
        for start, stop in itertools.pairwise(sorted({block.start, block.stop} | inside)):
            here = slice(start - block.start, stop - block.start)
            kept += tensors.ops.keep_between(delta[here], *band.bounds(start), scale, out[here])
        return kept

    return keep


def _order_statistics(tensors: ParentTensors, positions: list[int], descending: bool) -> list[list[Ranked]]:
    deltas = [Delta(k) for k in range(len(tensors.labels))]
    return tensors.ops.order_statistics(tensors, "delta", deltas, positions, descending)


def _seeds(tensors: ParentTensors, sparsity: Sparsity) -> list[int]:
    return [stream_seed(sparsity.seed, tensors.name, label) for label in tensors.labels]


def _at_random(tensors: ParentTensors, sparsity: Sparsity) -> list[Keeper]:
    def keeper(index: int, seed: int) -> Keeper:
        keep = tensors.ops.keep_drawn
        return lambda block, scale, out: keep(block.delta(index), seed, block.start, sparsity.density, scale, out)

    return [keeper(index, seed) for index, seed in enumerate(_seeds(tensors, sparsity))]


def _by_rank(tensors: ParentTensors, sparsity: Sparsity) -> list[Keeper]:
    """MagPrune. Its masks need ranks, so they are stored instead of recomputed in every pass."""
    masks = tensors.ops.rank_masks(tensors, _seeds(tensors, sparsity), sparsity.density, sparsity.epsilon)
    return [_masked(tensors, index, mask, sparsity) for index, mask in enumerate(masks)]


def _masked(tensors: ParentTensors, index: int, mask: Any, sparsity: Sparsity) -> Keeper:
    keep = tensors.ops.keep_masked
    if sparsity.rescale != "density":
        return lambda block, scale, out: keep(block.delta(index), mask, block.start, scale, out)
    probabilities = torch.cat(
        tensors.map_rows(
            lambda rows: keep_probabilities(rows.delta(index), tensors.row, sparsity.density, sparsity.epsilon)
        )
    )

    def divided(block: Block, scale: float, out: torch.Tensor) -> int:
        kept = keep(block.delta(index), mask, block.start, scale, out)
        out.div_(probabilities[block.start : block.stop])
        return kept

    return divided


_KEEPERS = {"magnitude": _largest, "outliers": _without_outliers, "bernoulli": _at_random, "magprune": _by_rank}
