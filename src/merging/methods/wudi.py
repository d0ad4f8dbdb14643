"""WUDI-Merging (2503.08099): the update of each linear layer that disturbs every task least on that task's own inputs.

Rows of a layer's task vector D_i are combinations of the inputs that the layer saw in training, so they stand for the
inputs themselves. Merging the task vectors (out, in) of K tasks into M disturbs task i by

    L_i(M) = |(M - D_i) D_i^T|^2 / |D_i|^2.

The authors take some hundred steps of Adam on sum_i L_i from M = sum_i D_i. The loss is quadratic: with H_i = D_i^T D_i
/ |D_i|^2 its gradient is 2 sum_i (M - D_i) H_i, and its minimum M = (sum D_i H_i)(sum H_i)^+, which is RegMean with H_i
as the Gram matrix of task i's inputs. Inputs that no task vector responds to get 0, at the start and at the minimum.

Adam moves an element by at most about `step_size` per step, so its result lies between the sum and the minimum; where,
depends on the size of the task vectors. The minimum depends on nothing but them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field

from src.merging.backend.combine import add_up
from src.merging.methods.fisher_regmean import regression_mean
from src.merging.methods.rule import shares_of
from src.merging.methods.spectral import is_layer_matrix, matrices, weighted_sum
from src.merging.tensors.blocks import BlockFunction
from src.merging.tensors.parent_tensors import ParentTensors
from src.utils.validation import checked_dataclass

BETAS = (0.9, 0.999)  # of Adam; torch's own optimizer would take seconds to import its compiler
EPSILON = 1e-8


@checked_dataclass("merge")
class Wudi:
    """base + lambda * the minimum of sum_i w_i L_i, or Adam's way to it, for the layers' matrices, expert by expert.

    Vectors, embeddings and the head get the weighted mean of the task vectors (the authors leave them to the base).
    Adam starts from K times that mean, so equal coefficients give the published method.

    Args:
        iterations: Steps of Adam; None computes the minimum.
        step_size: Learning rate of Adam.
        lambda_: Factor on the merged task vector.

    Raises:
        UserError: A value is out of its range.
    """

    iterations: Annotated[int, Field(ge=1)] | None
    step_size: Annotated[float, Field(gt=0)]
    lambda_: float
    returns_weights = False
    normalize = True

    def prepare(self, tensors: ParentTensors, coefficients: Sequence[float]) -> BlockFunction:
        """See `Rule.prepare`; the coefficients weigh the disturbance of each task."""
        shares = shares_of("wudi", coefficients)
        if not is_layer_matrix(tensors):
            return weighted_sum(tensors, shares, self.lambda_)
        key = ("wudi", self.iterations, self.step_size, tuple(shares))
        whole = tensors.once(key, lambda: torch.stack([self._merge(one, shares) for one in matrices(tensors)]))
        merged = (whole * self.lambda_).reshape(-1)
        return lambda block: merged[block.start : block.stop]

    def _merge(self, deltas: Sequence[torch.Tensor], shares: Sequence[float]) -> torch.Tensor:
        if self.iterations is None:
            return wudi_minimum(deltas, shares).float()
        return wudi_adam(deltas, shares, self.iterations, self.step_size)


def wudi_minimum(deltas: Sequence[torch.Tensor], shares: Sequence[float]) -> torch.Tensor:
    """The minimum of sum_i w_i L_i over matrices (out, in), float64: in float32, H_i would not have a low rank."""
    wide = [delta.double() for delta in deltas]
    return regression_mean(wide, _grams(wide), shares, alpha=1.0)


def wudi_adam(
    deltas: Sequence[torch.Tensor], shares: Sequence[float], iterations: int, step_size: float
) -> torch.Tensor:
    """Adam on K sum_i w_i L_i from K sum_i w_i D_i, in the dtype of the task vectors.

    One product with a matrix (in, in) per step gives the gradient, whatever the number of tasks.
    """
    factors = [len(deltas) * share for share in shares]
    grams = [factor * gram for factor, gram in zip(factors, _grams(deltas), strict=True)]
    total = add_up(grams)
    target = add_up([delta @ gram for delta, gram in zip(deltas, grams, strict=True)])
    merged = add_up([factor * delta for factor, delta in zip(factors, deltas, strict=True)])
    mean, square = torch.zeros_like(merged), torch.zeros_like(merged)
    for step in range(1, iterations + 1):
        gradient = 2 * (merged @ total - target)
        mean.lerp_(gradient, 1 - BETAS[0])
        square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        size = (square / (1 - BETAS[1] ** step)).sqrt_().add_(EPSILON)
        merged.addcdiv_(mean, size, value=-step_size / (1 - BETAS[0] ** step))
    return merged


def _grams(deltas: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """H_i (in, in) of K task vectors; 0 for a task vector of 0, which then has no say."""
    squares = [delta.double().square().sum() for delta in deltas]
    return [
        delta.T @ delta * torch.where(square > 0, 1 / square, 0.0).to(delta.dtype)
        for delta, square in zip(deltas, squares, strict=True)
    ]
