"""Methods that select task vectors element by element: SCE (2408.07990) and consensus masks (2405.07813).

Legend: K specialists, n elements of a block.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Annotated

import torch
from pydantic import Field

from src.merging.backend.combine import add_up
from src.merging.tensors.blocks import Block, BlockFunction
from src.merging.tensors.parent_tensors import ParentTensors, Ranked
from src.merging.tensors.reductions import deterministic_sums
from src.utils.errors import UserError
from src.utils.validation import checked_dataclass


@checked_dataclass("merge")
class Sce:
    """Select the elements that vary most between specialists, weigh specialists by their energy, erase minority signs.

    Args:
        select: Fraction of the varying elements that is kept, in (0, 1].
        equal_below: If the mean squares of all task vectors of a tensor sum to less, the specialists have equal shares.
            mergekit's 1e-6 is above those of most fine-tunes; 0: only if all are zero.

    Raises:
        UserError: A value is out of its range.
    """

    select: Annotated[float, Field(gt=0, le=1)]
    equal_below: Annotated[float, Field(ge=0)]
    returns_weights = False

    def prepare(self, tensors: ParentTensors, coefficients: Sequence[float]) -> BlockFunction:
        """See `Rule.prepare`."""
        count = len(coefficients)
        last = self._last(tensors)

        def selected(block: Block) -> list[torch.Tensor]:
            deltas = [block.delta(k) for k in range(count)]
            if last is None:
                return deltas
            spread = variance(deltas)
            keep = spread > last.magnitude
            ties = max(0, last.index + 1 - block.start)  # of equal variances the first are kept
            keep[:ties] |= spread[:ties] == last.magnitude
            return [delta * keep for delta in deltas]

        def measure(block: Block) -> list[tuple[int, list[float]]]:
            return [(int(torch.count_nonzero(one)), deterministic_sums(one, 2)) for one in selected(block)]

        parts = tensors.map(measure)
        totals = [math.fsum(itertools.chain.from_iterable(part[k][1] for part in parts)) for k in range(count)]
        total = math.fsum(totals)
        is_equal = total == 0 or total / tensors.numel < self.equal_below
        shares = [1 / count if is_equal else energy / total for energy in totals]
        kept = None if last is None else [sum(part[k][0] for part in parts) for k in range(count)]
        return _WeightedMajority(selected, shares, kept)

    def _last(self, tensors: ParentTensors) -> Ranked | None:
        """Element with the smallest variance that is kept; None keeps all."""
        if self.select >= 1 or len(tensors.labels) == 1:
            return None

        def varying(block: Block) -> torch.Tensor:
            return variance([block.delta(k) for k in range(len(tensors.labels))])

        nonzero = sum(tensors.map(lambda block: int(torch.count_nonzero(varying(block)))))
        kept = int(nonzero * self.select)
        if kept == 0:
            return Ranked(math.inf, -1)
        return tensors.ops.order_statistics(tensors, "variance", [varying], [kept - 1], descending=True)[0][0]


class _WeightedMajority:
    """`_weighted_majority` of what is selected, as a `ReportingFunction`."""

    fallback = False

    def __init__(
        self, selected: Callable[[Block], list[torch.Tensor]], shares: Sequence[float], kept: list[int] | None
    ) -> None:
        self._selected = selected
        self._shares = shares
        self._kept = kept

    def __call__(self, block: Block) -> torch.Tensor:
        return _weighted_majority(self._selected(block), self._shares)

    def kept(self) -> list[int] | None:
        return self._kept


@checked_dataclass("merge")
class ConsensusMasks:
    """base + lambda * sum of weighted task vectors, where enough of them matter to their own task.

    An element matters to task i where |X_i| > threshold * |sum X - X_i|, X_i = w_i D_i (a TALL mask); it is kept where
    it matters to at least `agree` tasks, and elsewhere the merge has the base's value.

    Args:
        threshold: Threshold of the TALL masks; the authors choose 0.2 to 0.6 on validation data.
        agree: Minimum number of tasks.
        lambda_: Factor on the merged task vector.

    Raises:
        UserError: A value is out of its range.
    """

    threshold: Annotated[float, Field(ge=0)]
    agree: Annotated[int, Field(ge=0)]
    lambda_: float
    returns_weights = False

    def prepare(self, tensors: ParentTensors, coefficients: Sequence[float]) -> BlockFunction:
        """See `Rule.prepare`."""
        if self.agree > len(coefficients):
            raise UserError(f"merge.agree={self.agree} exceeds the number of specialists ({len(coefficients)})")

        def merge(block: Block) -> torch.Tensor:
            parts = [block.delta(k) * coefficient for k, coefficient in enumerate(coefficients)]
            total = add_up(parts)
            votes = add_up([(part.abs() > self.threshold * (total - part).abs()).int() for part in parts])
            return total * (votes >= self.agree) * self.lambda_

        return merge


def variance(deltas: Sequence[torch.Tensor]) -> torch.Tensor:
    """Variance (n,) over K specialists, each counted 1 / K."""
    mean = add_up(deltas) / len(deltas)
    return add_up([(delta - mean).square() for delta in deltas]) / len(deltas)


def _weighted_majority(deltas: Sequence[torch.Tensor], shares: Sequence[float]) -> torch.Tensor:
    positive = add_up(deltas) >= 0
    weights = [share * torch.where(positive, d > 0, d < 0) for share, d in zip(shares, deltas, strict=True)]
    merged = add_up([delta * weight for delta, weight in zip(deltas, weights, strict=True)])
    return merged / add_up(weights).clamp(min=1e-6)
