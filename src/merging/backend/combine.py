"""Weighted sums of sparsified task vectors, with or without the election of a sign.

Legend: K specialists, n elements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from src.merging.tensors.blocks import Block, BlockFunction


@runtime_checkable
class CountingPart(Protocol):
    """A `BlockFunction` that keeps some elements of a task vector and counts them."""

    @property
    def kept(self) -> int:
        """Elements that were kept and are not 0, once all blocks are merged."""
        ...


@dataclass(frozen=True)
class Combination:
    """`combine` K sparsified task vectors; the compiled backend merges all points with the same parts together."""

    parts: tuple[BlockFunction, ...]
    coefficients: tuple[float, ...]
    consensus: bool
    normalize: bool
    lambda_: float
    fallback: bool = False

    def __call__(self, block: Block) -> torch.Tensor:
        """The merged task vector of a block."""
        return combine(
            [part(block) for part in self.parts], self.coefficients, self.consensus, self.normalize, self.lambda_
        )

    def kept(self) -> list[int] | None:
        """See `ReportingFunction`."""
        parts: tuple[object, ...] = self.parts
        counts = [part.kept for part in parts if isinstance(part, CountingPart)]
        return counts if len(counts) == len(parts) else None


@dataclass(frozen=True)
class Mean:
    """`weighted_mean` over K specialists; the compiled backend merges all points together."""

    coefficients: tuple[float, ...]
    normalize: bool
    fallback: bool = False

    def __call__(self, block: Block) -> torch.Tensor:
        """The merged weights of a block."""
        return weighted_mean(
            [block.specialist(k) for k in range(len(self.coefficients))], self.coefficients, self.normalize
        )

    def kept(self) -> None:
        """See `ReportingFunction`."""


def combine(
    deltas: Sequence[torch.Tensor], coefficients: Sequence[float], consensus: bool, normalize: bool, lambda_: float
) -> torch.Tensor:
    """Merge task vectors (2212.04089; with `consensus` the elect and disjoint-merge steps of TIES, 2306.01708).

    Args:
        deltas: K sparsified task vectors (n,), float32.
        coefficients: K numbers.
        consensus: Elect each element's sign by the weighted sum (a tie elects +) and drop values that disagree; zeros
            do not vote. A negative coefficient votes with the opposite sign.
        normalize: Divide by the sum of the coefficients; with `consensus`, of those that survived at the element.
        lambda_: Factor on the result.

    Returns:
        The merged task vector (n,), float32.
    """
    weighted = [delta * coefficient for delta, coefficient in zip(deltas, coefficients, strict=True)]
    if consensus:
        mixed, divisor = _elected(weighted, coefficients)
    else:
        mixed, divisor = add_up(weighted), _total(coefficients, like=deltas[0])
    if normalize:
        mixed = mixed / divisor
    return mixed * lambda_ if lambda_ != 1 else mixed


def weighted_mean(values: Sequence[torch.Tensor], coefficients: Sequence[float], normalize: bool) -> torch.Tensor:
    """sum c A, divided by sum c if `normalize`; each addition is a fused multiply-add, as in mergekit.

    A float32 product is exact in float64, so adding in float64 and rounding once equals a fused instruction, on
    machines with and without one.

    Args:
        values: K tensors (n,), float32.
        coefficients: K numbers.
        normalize: Divide by the sum of the coefficients, unless its magnitude is below 1e-8.

    Returns:
        The mean (n,), float32.
    """
    total = torch.zeros_like(values[0])
    for value, coefficient in zip(values, coefficients, strict=True):
        factor = float(torch.tensor(coefficient, dtype=torch.float32))
        total = (total.double() + value.double() * factor).float()
    return total / _total(coefficients, like=total) if normalize else total


def _elected(weighted: Sequence[torch.Tensor], coefficients: Sequence[float]) -> tuple[torch.Tensor, torch.Tensor]:
    positive = add_up(weighted) >= 0
    agree = [torch.where(positive, part > 0, part < 0) for part in weighted]
    mixed = add_up([part * keep for part, keep in zip(weighted, agree, strict=True)])
    divisor = add_up(
        [keep * torch.full_like(mixed, coefficient) for coefficient, keep in zip(coefficients, agree, strict=True)]
    )
    return mixed, torch.where(divisor == 0, torch.ones_like(divisor), divisor)


def add_up(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Sum one after the other: mergekit's order, and the same on every device."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def total_coefficient(coefficients: Sequence[float]) -> torch.Tensor:
    """Divisor of a plain sum: the float32 sum of the coefficients, or 1 if its magnitude is below 1e-8."""
    total = add_up([torch.tensor(coefficient, dtype=torch.float32) for coefficient in coefficients])
    return torch.where(total.abs() < 1e-8, torch.ones_like(total), total)


def _total(coefficients: Sequence[float], like: torch.Tensor) -> torch.Tensor:
    """The divisor as a tensor on the device of `like`, so that every device does a true division."""
    return total_coefficient(coefficients).to(like.device)
