"""What is summed up about one group of tensors (a layer, a module kind, or both).

Shapes: K variants, C elements of a block.
"""

from __future__ import annotations

import torch
from torch import Tensor

from src.diagnostics.moments import CoMoments, SignCounts


class Totals:
    """Running sums over the tensors of one group.

    Args:
        variants: K.
    """

    def __init__(self, variants: int) -> None:
        self.elements = 0
        self.tensors = 0
        self.weight_tensors = 0
        self.squares_K = torch.zeros(variants, dtype=torch.float64)
        self.norms_K = torch.zeros(variants, dtype=torch.float64)
        self.base_square = 0.0
        self.raw = CoMoments(variants)
        self.thresholded = CoMoments(variants)
        self.signs = SignCounts(variants)

    def add_weights(self, deltas_KC: Tensor, cut_K: Tensor) -> None:
        """Take in a block of a weight tensor's deltas; entries below `cut_K` in magnitude count as zero once more."""
        self.raw.add(deltas_KC)
        self.signs.add(deltas_KC)
        self.thresholded.add(deltas_KC.where(deltas_KC.abs() >= cut_K[:, None], 0.0))

    def add_tensor(self, elements: int, squares_K: Tensor, base_square: float, is_weight: bool) -> None:
        """Take in one whole tensor's sums of squares: of each delta, and of the base."""
        self.elements += elements
        self.tensors += 1
        self.squares_K += squares_K
        self.base_square += base_square
        if is_weight:
            self.weight_tensors += 1
            self.norms_K += squares_K.sqrt()

    def merge(self, other: Totals) -> None:
        """Take in everything that `other` has seen."""
        self.elements += other.elements
        self.tensors += other.tensors
        self.weight_tensors += other.weight_tensors
        self.squares_K += other.squares_K
        self.norms_K += other.norms_K
        self.base_square += other.base_square
        self.raw.merge(other.raw)
        self.thresholded.merge(other.thresholded)
        self.signs.merge(other.signs)
