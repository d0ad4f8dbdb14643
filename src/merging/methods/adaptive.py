"""Coefficients from the parents' weights alone, tensor by tensor: no grid, no data.

A specialist's squared update serves as the importance of each weight to its task: under Adam, a weight moves far if its
gradient keeps its sign. Let D_k be the task vectors of a tensor, c their coefficients, and F_k = |D_k|^s. The harm that
the merge does to task k is then modeled as

    L_k(c) = sum_e F_k (sum_j c_j D_j - D_k)^2 / sum_e F_k D_k^2,

0 at the specialist itself and 1 at the base, whatever the scale of the update. Minimizing sum_k w_k L_k(c) is a K x K
linear system in moments of the task vectors. Consequences:

- Parallel updates share: c sums to 1, as in an average. Updates on disjoint weights do not disturb each other: c = 1.
- Opposite signs on weights that matter to both tasks pull both coefficients down; on weights that matter to neither,
  they do not count.
- Of two unrelated updates, the longer one is scaled down, since it disturbs the shorter one more: with Gaussian
  updates of norms 1 and 0.5 and s = 2, c is 0.43 and 0.92, while a grid of w and 1 - w can only trade one for the
  other.

This method is ours. It is related to RegMean and Fisher merging, with a weight-space proxy for their data.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field

from src.merging.methods.spherical import combination
from src.merging.tensors.blocks import Block, BlockFunction
from src.merging.tensors.parent_tensors import ParentTensors
from src.merging.tensors.reductions import deterministic_product_sums
from src.utils.validation import checked_dataclass


@checked_dataclass("merge")
class Adaptive:
    """Task arithmetic with coefficients per tensor that minimize the modeled harm to all tasks.

    Args:
        sharpness: Exponent s of the importance |D|^s; 0 counts all weights alike, 2 is the squared update.
        lambda_: Factor on the merged task vector.

    Raises:
        UserError: A value is out of its range.
    """

    sharpness: Annotated[float, Field(ge=0, le=8)]
    lambda_: float
    returns_weights = False
    normalize = True  # only the ratio of the coefficients matters

    def prepare(self, tensors: ParentTensors, coefficients: Sequence[float]) -> BlockFunction:
        """See `Rule.prepare`; the coefficients weigh the harm to each task."""
        moments = tensors.once(("moments", self.sharpness), lambda: importance_moments(tensors, self.sharpness))
        found = adaptive_coefficients(moments, torch.tensor(coefficients, dtype=torch.float64))
        return combination(tensors, (found * self.lambda_)[None], returns_weights=False)


def importance_moments(tensors: ParentTensors, sharpness: float) -> torch.Tensor:
    """moments[k, i, j] = sum over elements of |D_k|^sharpness D_i D_j, (K, K, K), float64."""
    count = len(tensors.labels)
    triples = [(k, i, j) for k in range(count) for i in range(count) for j in range(i, count)]

    def products(block: Block) -> list[list[float]]:
        deltas = [block.delta(k) for k in range(count)]
        scale = [
            max(norm, 1e-30) / math.sqrt(tensors.numel) for norm in tensors.norms()
        ]  # keep powers within float32's range
        importance = [(delta / size).abs().pow(sharpness) for delta, size in zip(deltas, scale, strict=True)]
        return [deterministic_product_sums(importance[k], deltas[i], deltas[j]) for k, i, j in triples]

    parts = tensors.map(products)
    found = torch.empty(count, count, count, dtype=torch.float64)
    for place, (k, i, j) in enumerate(triples):
        total = math.fsum(itertools.chain.from_iterable(part[place] for part in parts))
        found[k, i, j] = found[k, j, i] = total
    return found


def adaptive_coefficients(moments: torch.Tensor, priorities: torch.Tensor) -> torch.Tensor:
    """Minimize sum_k w_k L_k(c), with L_k as in the module's docstring.

    Args:
        moments: (K, K, K), from `importance_moments`.
        priorities: (K,) weight of each task; only their ratios matter.

    Returns:
        c (K,), float64; the smallest solution if there are several; 0 for specialists that did not move.
    """
    index = torch.arange(len(priorities))
    own = moments[index, index, index]
    scale = torch.where(own > 0, priorities / own.clamp(min=1e-300), 0.0)
    matrix = (scale[:, None, None] * moments).sum(dim=0)
    target = (scale[:, None] * moments[index, index]).sum(dim=0)
    # scaled by each specialist's own moment, so that the pseudo-inverse cuts off by direction and not by length
    unit = matrix.diagonal().clamp(min=0).sqrt()
    inverse = torch.where(unit > 0, 1 / unit.clamp(min=1e-300), 0.0)
    scaled = matrix * inverse[:, None] * inverse[None, :]
    return torch.linalg.pinv(scaled, rtol=1e-9, hermitian=True) @ (target * inverse) * inverse
