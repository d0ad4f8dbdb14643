"""PCB-Merging (2410.02396): every parameter of every task gets its own coefficient, balanced within and between tasks.

With D_k task k's vector over the whole model, S their sum, and norm(x) = (x - min x) / (max x - min x):

    A_k = |D_k| clamped to its 0.01% and 99.99% quantiles
    B_k = exp(K norm(A_k)^2) tanh(D_k S)               intra-balancing, inter-balancing
    C_k = norm(max(B_k, its 1 - density quantile))     drop, rescale
    merged = sum_k C_k sign(D_k) A_k / sum_k C_k

This is the form in their repository (`pcb-merging.py`); the paper writes both balancings as softmax. A norm whose
denominator is 0 is 0 here and not NaN. All tensors take part, as one vector.

Legend: K specialists, n elements of all tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import torch
from pydantic import Field

from src.merging.backend.combine import Combination, add_up
from src.merging.backend.model_ranks import ask, model_magnitudes
from src.merging.backend.selection import Place
from src.merging.methods.sparsify import SparsePart
from src.merging.tensors.blocks import Block, BlockFunction, Delta
from src.merging.tensors.parent_model import ParentModel
from src.merging.tensors.parent_tensors import ParentTensors
from src.utils.validation import checked_dataclass

CLAMPED = 0.0001  # fraction of the smallest and of the largest magnitudes


@dataclass(frozen=True)
class Limits:
    """Bounds in one specialist's whole task vector.

    Args:
        low: Lower bound of magnitudes.
        high: Upper bound.
        cut: Balance at or below which an element is dropped.
        top: Largest balance.
    """

    low: float
    high: float
    cut: float = 0.0
    top: float = 0.0


@checked_dataclass("merge")
class Pcb:
    """base + lambda * the balanced mean of the task vectors, each first multiplied by K times its coefficient.

    The balances do not depend on the coefficients, which the authors search with an evolutionary algorithm; equal ones
    give the published method.

    Args:
        density: Fraction of each task vector with the largest balances that is kept, in (0, 1].
        lambda_: Factor on the merged task vector.
        limits: Of every specialist, once `over` has found them.

    Raises:
        UserError: A value is out of its range.
    """

    density: Annotated[float, Field(gt=0, le=1)]
    lambda_: float
    limits: tuple[Limits, ...] = ()
    returns_weights = False
    needs_model = True

    def ask(self, model: ParentModel) -> None:
        """See `WholeModelRule.ask`."""
        ask(model, "delta", _places(model, _ends(model)))
        ask(model, ("balance", 1), _places(model, _ranks(model, self.density)))

    def over(self, model: ParentModel) -> Pcb:
        """See `WholeModelRule.over`."""
        limits = model.once(("pcb", self.density), lambda: find_limits(model, self.density))
        return Pcb(self.density, self.lambda_, limits)

    def prepare(self, tensors: ParentTensors, coefficients: Sequence[float]) -> BlockFunction:
        """See `Rule.prepare`."""
        parts = tensors.once(("pcb", self.limits), lambda: balanced_parts(self.limits))
        factors = tuple(coefficient * len(coefficients) for coefficient in coefficients)
        return Combination(parts, factors, consensus=False, normalize=False, lambda_=self.lambda_)


def find_limits(model: ParentModel, density: float) -> tuple[Limits, ...]:
    """Find every specialist's limits over the whole model, in passes that all specialists share."""
    count = len(model.labels)
    low, high = _ends(model)
    sizes = model_magnitudes(model, "delta", [Delta(k) for k in range(count)], _places(model, (low, high)))
    clamps = tuple(Limits(sizes[k, low], sizes[k, high]) for k in range(count))
    found = _signed_ranks(model, [_Balance(k, clamps) for k in range(count)], _ranks(model, density))
    return tuple(Limits(one.low, one.high, *bounds) for one, bounds in zip(clamps, found, strict=True))


def _places(model: ParentModel, ranks: tuple[int, int]) -> list[Place]:
    return [(k, rank) for k in range(len(model.labels)) for rank in ranks]


def _ends(model: ParentModel) -> tuple[int, int]:
    """Ranks of the quantiles that clamp the magnitudes."""
    return int(model.numel * CLAMPED), int(model.numel * (1 - CLAMPED) - 1)


def _ranks(model: ParentModel, density: float) -> tuple[int, int]:
    """Ranks of the balance below which elements are dropped, and of the largest."""
    return int(model.numel * (1 - density)), model.numel - 1


def _signed_ranks(model: ParentModel, values: Sequence[_Balance], ranks: tuple[int, int]) -> list[tuple[float, float]]:
    """Values at two ranks, 0 for the smallest, of signed functions: among the positive ones if they reach so far."""
    places = _places(model, ranks)
    found = model_magnitudes(model, ("balance", 1), [partial(_part_of_sign, one, 1) for one in values], places)
    rest = [(k, model.numel - 1 - rank) for k, rank in places if found[k, rank] == 0]
    if rest:
        below = model_magnitudes(model, ("balance", -1), [partial(_part_of_sign, one, -1) for one in values], rest)
        found |= {(k, model.numel - 1 - rank): -size for (k, rank), size in below.items()}
    return [(found[k, ranks[0]], found[k, ranks[1]]) for k in range(len(values))]


def _part_of_sign(value: BlockFunction, sign: int, block: Block) -> torch.Tensor:
    return (sign * value(block)).clamp(min=0)


@dataclass(frozen=True)
class _Balance:
    """B_k of a block; computed in float64, so that no machine's float32 functions decide."""

    index: int
    limits: tuple[Limits, ...]

    def __call__(self, block: Block) -> torch.Tensor:
        return block.once(("balance", self.index, self.limits), partial(self._fill, block))

    def _fill(self, block: Block, out: torch.Tensor) -> None:
        count, own = len(self.limits), self.limits[self.index]
        total = add_up([block.delta(k).double() for k in range(count)])
        within = _rescaled(_clamped(block, self.index, own).double(), own.low, own.high).square()
        out.copy_(torch.exp(count * within) * torch.tanh(block.delta(self.index).double() * total))


def balanced_parts(limits: tuple[Limits, ...]) -> tuple[BlockFunction, ...]:
    """C_k sign(D_k) A_k / sum_j C_j of every specialist, as functions of a block that count what they keep."""

    def share(index: int, block: Block) -> torch.Tensor:
        own = limits[index]
        return _rescaled(_Balance(index, limits)(block), own.cut, own.top).clamp(min=0)

    def total(block: Block) -> torch.Tensor:
        shares = [share(k, block) for k in range(len(limits))]
        return block.once(("shares", limits), lambda out: out.copy_(add_up(shares).clamp(min=1e-12)))

    def keep(index: int, block: Block, scale: float, out: torch.Tensor) -> int:
        clamped = _clamped(block, index, limits[index]) * block.delta(index).sign()
        torch.mul(clamped, share(index, block) / total(block) * scale, out=out)
        return int(torch.count_nonzero(out))

    return tuple(SparsePart(("pcb", k, limits), partial(keep, k), 1.0) for k in range(len(limits)))


def _clamped(block: Block, index: int, limits: Limits) -> torch.Tensor:
    return block.delta(index).abs().clamp(limits.low, limits.high)


def _rescaled(values: torch.Tensor, low: float, high: float) -> torch.Tensor:
    return (values - low) / (high - low) if high > low else torch.zeros_like(values)
