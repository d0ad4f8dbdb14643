"""Methods that select task vectors element by element: SCE (2408.07990) and consensus masks (2405.07813).

Legend: K specialists, n elements of a block.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field

from src.merging.backend.combine import add_up
from src.merging.tensors.blocks import Block, BlockFunction, ParentTensors
from src.merging.tensors.reductions import deterministic_sums
from src.utils.errors import UserError
from src.utils.validation import checked_dataclass


@checked_dataclass("merge")
class Sce:
    """Select the elements that vary most between specialists, weigh specialists by their energy, erase minority signs.

    mergekit falls back to equal shares if the mean squares of all task vectors sum to less than 1e-6, as in most
    fine-tunes; here that happens only if all are zero.

    Args:
        select: Fraction of the varying elements that is kept, in (0, 1].

    Raises:
        UserError: `select` is out of its range.
    """

    select: Annotated[float, Field(gt=0, le=1)]
    returns_weights = False

    def prepare(self, tensors: ParentTensors, coefficients: Sequence[float]) -> BlockFunction:
        """See `Rule.prepare`."""
        count = len(coefficients)
        limit = self._limit(tensors)

        def selected(block: Block) -> list[torch.Tensor]:
            deltas = [block.delta(k) for k in range(count)]
            if limit == 0:
                return deltas
            keep = variance(deltas) >= limit
            return [delta * keep for delta in deltas]

        energies = tensors.map(lambda block: [deterministic_sums(delta, 2) for delta in selected(block)])
        totals = [math.fsum(itertools.chain.from_iterable(part[k] for part in energies)) for k in range(count)]
        total = math.fsum(totals)
        shares = [energy / total if total > 0 else 1 / count for energy in totals]
        return lambda block: _weighted_majority(selected(block), shares)

    def _limit(self, tensors: ParentTensors) -> float:
        """Minimum variance that is kept; 0 keeps all."""
        if self.select >= 1 or len(tensors.labels) == 1:
            return 0.0

        def varying(block: Block) -> torch.Tensor:
            return variance([block.delta(k) for k in range(len(tensors.labels))])

        nonzero = sum(tensors.map(lambda block: int(torch.count_nonzero(varying(block)))))
        kept = int(nonzero * self.select)
        if kept == 0:
            return math.inf
        return tensors.ops.order_statistics(tensors, "variance", [varying], [tensors.numel - kept])[0][0]


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
