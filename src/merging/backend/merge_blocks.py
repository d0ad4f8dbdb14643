"""From what a rule makes of a block to the values that are handed over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import torch

if TYPE_CHECKING:
    from src.merging.backend.torch_ops import Ops
    from src.merging.engine.point import PointRun
    from src.merging.methods.rule import BlockMerge
    from src.merging.tensors.blocks import Block

Emission = tuple["PointRun", torch.Tensor, list[float]]
"""A point, its values of the block, and the parts of the squared norm of its merged delta."""


class Emitter(Protocol):
    """Makes the values of one or more points from a block."""

    def __call__(self, block: Block) -> Iterator[Emission]:
        """One emission a point; its values are in memory that the next one may reuse."""
        ...


class PlainEmitter:
    """One point of any rule.

    Args:
        run: The point.
        merge: What its rule does to a block.
        factor: Factor on the merged delta.
        ops: The arithmetic.
    """

    def __init__(self, run: PointRun, merge: BlockMerge, factor: float, ops: Ops) -> None:
        self.run = run
        self._merge = merge
        self._factor = factor
        self._ops = ops

    def __call__(self, block: Block) -> Iterator[Emission]:
        """See `Emitter`."""
        merged = self._merge(block)
        on_weights = self.run.recipe.rule.on_weights
        delta = merged - block.base if on_weights else merged
        if self._factor != 1:
            delta = delta * self._factor
        exact = on_weights and self._factor == 1  # base + (weights - base) would round twice
        yield self.run, merged if exact else block.base + delta, self._ops.fold(delta, 2)
