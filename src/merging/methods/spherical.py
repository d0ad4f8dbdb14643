"""Means on the sphere: combinations of the parents whose factors follow from K x K inner products.

SLERP and NuSLERP, the Karcher mean (2603.04972), Model Stock (2403.19522). Nothing larger than a block is held in
memory: the merged tensor is in the span of its parents.

Legend: K specialists, R rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field

from src.merging.backend.combine import Combination, Mean, add_up
from src.merging.methods.rule import shares_of
from src.merging.methods.sparsify import Sparsity, prepare_sparsity
from src.merging.tensors.blocks import Block, BlockFunction
from src.merging.tensors.parent_tensors import ParentTensors
from src.merging.tensors.reductions import deterministic_product_sums, tree_sum
from src.utils.errors import UserError
from src.utils.validation import checked_dataclass

Space = Literal["deltas", "weights"]


@checked_dataclass("merge")
class Slerp:
    """Spherical interpolation between two specialists; t = w2 / (w1 + w2), each tensor one vector.

    Args:
        space: `deltas` (task vectors) or `weights`. The weights of fine-tunes of one base are nearly parallel, so slerp
            on weights is close to a plain mean.
        by_row: Interpolate every row by its own angle.
        parallel: Above this |cosine| the interpolation is linear.

    Raises:
        UserError: A value is out of its range.
    """

    space: Space
    by_row: bool
    parallel: float

    normalize: ClassVar[bool] = True

    @property
    def returns_weights(self) -> bool:
        """See `Rule`."""
        return self.space == "weights"

    def prepare(self, tensors: ParentTensors, coefficients: Sequence[float]) -> BlockFunction:
        """See `Rule.prepare`."""
        if len(coefficients) != 2:
            raise UserError(f"slerp takes two specialists, got {len(coefficients)}: use merge=karcher for more")
        share = coefficients[1] / sum(coefficients)
        grams = row_grams(tensors, self.returns_weights) if self.by_row else gram(tensors, self.returns_weights)[None]
        return combination(tensors, slerp_coefficients(grams, share, self.parallel), self.returns_weights)


@checked_dataclass("merge")
class Karcher:
    """The point on the sphere with the least weighted squared angle to the parents' directions, at their mean norm.

    Args:
        space: `deltas` or `weights`.
        max_iter: Maximum number of steps.
        tolerance: Stop when a step is shorter; parents with a smaller norm are ignored.

    Raises:
        UserError: A value is out of its range.
    """

    space: Space
    max_iter: Annotated[int, Field(ge=1)]
    tolerance: Annotated[float, Field(ge=0)]

    @property
    def returns_weights(self) -> bool:
        """See `Rule`."""
        return self.space == "weights"

    def prepare(self, tensors: ParentTensors, coefficients: Sequence[float]) -> BlockFunction:
        """See `Rule.prepare`."""
        shares = torch.tensor(shares_of("karcher", coefficients), dtype=torch.float64)
        found = karcher_coefficients(gram(tensors, self.returns_weights), shares, self.max_iter, self.tolerance)
        return combination(tensors, found[None], self.returns_weights)


@checked_dataclass("merge")
class ModelStock:
    """base + t * mean task vector, t = K c / (1 + (K - 1) c) with c the mean cosine between task vectors.

    Args:
        by_row: One c per row instead of one per tensor.

    Raises:
        UserError: `by_row` is not a bool.
    """

    by_row: bool
    returns_weights = False

    def prepare(self, tensors: ParentTensors, coefficients: Sequence[float]) -> BlockFunction:
        """See `Rule.prepare`."""
        if len(coefficients) < 2:
            raise UserError(
                "merge=model_stock compares specialists; expected at least two, e.g. specialists.codegen=DIR"
            )
        grams = row_grams(tensors, False) if self.by_row else gram(tensors, False)[None]
        return combination(tensors, model_stock_coefficients(grams), returns_weights=False)


def gram(tensors: ParentTensors, returns_weights: bool) -> torch.Tensor:
    """Inner products (K, K) of the parents' tensors or task vectors, float64."""
    return tensors.once(("gram", returns_weights), lambda: _gram(tensors, returns_weights))


def _gram(tensors: ParentTensors, returns_weights: bool) -> torch.Tensor:
    count = len(tensors.labels)
    pairs = [(i, j) for i in range(count) for j in range(i, count)]

    def products(block: Block) -> list[list[float]]:
        values = [_values(block, k, returns_weights) for k in range(count)]
        return [deterministic_product_sums(values[i], values[j]) for i, j in pairs]

    parts = tensors.map(products)
    found = torch.empty(count, count, dtype=torch.float64)
    for place, (i, j) in enumerate(pairs):
        found[i, j] = found[j, i] = math.fsum(x for part in parts for x in part[place])
    return found


def row_grams(tensors: ParentTensors, returns_weights: bool) -> torch.Tensor:
    """Inner products (R, K, K) row by row, float64, on the CPU, so that angles do not depend on the device."""

    def products(block: Block) -> torch.Tensor:
        rows = [
            _values(block, k, returns_weights).double().reshape(-1, tensors.row) for k in range(len(tensors.labels))
        ]
        return torch.stack([torch.stack([tree_sum(a * b) for b in rows], -1) for a in rows], -1)

    return tensors.once(("row grams", returns_weights), lambda: torch.cat(tensors.map_rows(products)).cpu())


def slerp_coefficients(grams: torch.Tensor, share: float, parallel: float) -> torch.Tensor:
    """(R, 2, 2) inner products -> (R, 2) factors on the two vectors; linear if they are parallel or vanish."""
    norms = grams.diagonal(dim1=1, dim2=2).sqrt()
    product = norms[:, 0] * norms[:, 1]
    cosine = torch.where(product > 0, grams[:, 0, 1] / product.clamp(min=1e-300), 1.0).clamp(-1, 1)
    is_linear = cosine.abs() > parallel
    angle = torch.acos(torch.where(is_linear, 0.0, cosine))
    sine = torch.sin(angle)
    first = torch.where(is_linear, 1 - share, torch.sin((1 - share) * angle) / sine)
    second = torch.where(is_linear, share, torch.sin(share * angle) / sine)
    return torch.stack([first, second], dim=1)


def model_stock_coefficients(grams: torch.Tensor) -> torch.Tensor:
    """(R, K, K) inner products of task vectors -> (R, K) factors; 0 if the ratio is not finite."""
    count = grams.shape[1]
    norms = grams.diagonal(dim1=1, dim2=2).sqrt()
    cosines = (grams / (norms[:, :, None] * norms[:, None, :]).clamp(min=1e-6)).clamp(-1, 1)
    upper = torch.triu(torch.ones(count, count, dtype=torch.bool), diagonal=1).to(grams.device)
    cosine = cosines[:, upper].mean(dim=1)
    denominator = 1 + (count - 1) * cosine
    singular = denominator.abs() < 1e-6
    ratio = torch.where(singular, 0.0, count * cosine / torch.where(singular, 1.0, denominator))
    return (ratio / count)[:, None].expand(-1, count)


def karcher_coefficients(grams: torch.Tensor, shares: torch.Tensor, max_iter: int, tolerance: float) -> torch.Tensor:
    """(K, K) inner products -> (K,) factors on the vectors.

    Every point of the iteration is a combination of the unit vectors, so it runs on K numbers instead of on tensors.
    """
    norms = grams.diagonal().sqrt()
    valid = (norms > tolerance) & (shares > 0)
    if not bool(valid.any()):
        return torch.zeros_like(shares)
    units = torch.where(valid, 1 / norms.clamp(min=1e-300), 0.0)
    cosines = grams * units[:, None] * units[None, :]
    alphas = torch.where(valid, shares, 0.0) / shares[valid].sum()
    mean = _unit(alphas, cosines, tolerance)
    for _ in range(max_iter):
        dots = (cosines @ mean).clamp(-1, 1)
        angles = torch.arccos(dots)
        pull = torch.where(angles < tolerance, 0.0, alphas * angles / torch.sin(angles).clamp(min=1e-300))
        tangent = pull - (pull * dots).sum() * mean
        length = _norm(tangent, cosines)
        if length < tolerance:
            break
        mean = _unit(torch.cos(length) * mean + torch.sin(length) / length * tangent, cosines, tolerance)
    return mean * units * (shares * norms).sum()


def combination(tensors: ParentTensors, coefficients: torch.Tensor, returns_weights: bool) -> BlockFunction:
    """Combine tensors by (1, K) factors, or rows by (R, K)."""
    if coefficients.shape[0] == 1:
        factors = tuple(coefficients[0].tolist())
        if returns_weights:
            return Mean(factors, normalize=False)
        parts = prepare_sparsity(tensors, Sparsity())
        return Combination(parts, factors, consensus=False, normalize=False, lambda_=1.0)
    by_row = coefficients.float().to(tensors.device)

    def merge(block: Block) -> torch.Tensor:
        rows = torch.arange(block.start, block.stop, device=tensors.device) // tensors.row
        parts = [by_row[rows, k] * _values(block, k, returns_weights) for k in range(by_row.shape[1])]
        return add_up(parts)

    return merge


def _values(block: Block, index: int, returns_weights: bool) -> torch.Tensor:
    return block.specialist(index) if returns_weights else block.delta(index)


def _norm(combined: torch.Tensor, cosines: torch.Tensor) -> torch.Tensor:
    return (combined @ cosines @ combined).clamp(min=0).sqrt()


def _unit(combined: torch.Tensor, cosines: torch.Tensor, tolerance: float) -> torch.Tensor:
    length = _norm(combined, cosines)
    if length < tolerance:  # the directions cancel, so any of them is as good
        combined = torch.nn.functional.one_hot(combined.abs().argmax(), combined.numel()).to(combined.dtype)
        length = _norm(combined, cosines)
    return combined / length.clamp(min=1e-300)
