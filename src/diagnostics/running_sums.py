"""Statistics of several series in one pass over their blocks, in float64.

Shapes: K series (one per variant), C elements of a block.
"""

from __future__ import annotations

import torch
from torch import Tensor


class CoMoments:
    """Means and centered co-moments of K series that arrive block by block.

    Each block is centered before it is multiplied, and blocks are joined by the pairwise update of Chan, Golub and
    LeVeque (1979). No digits are lost when the mean is large compared with the spread, and blocks of any size and order
    give the same result up to rounding.

    Args:
        series: K.
    """

    def __init__(self, series: int) -> None:
        self.count = 0
        self.mean_K = torch.zeros(series, dtype=torch.float64)
        self.comoment_KK = torch.zeros(series, series, dtype=torch.float64)

    def add(self, block_KC: Tensor) -> None:
        """Add the next C elements of every series (float64)."""
        if not block_KC.shape[1]:
            return
        block = CoMoments(len(block_KC))
        block.count = block_KC.shape[1]
        block.mean_K = block_KC.mean(dim=1)
        centered_KC = block_KC - block.mean_K[:, None]
        block.comoment_KK = centered_KC @ centered_KC.T
        self.merge(block)

    def merge(self, other: CoMoments) -> None:
        """Add everything that `other` has seen."""
        total = self.count + other.count
        if not total:
            return
        step_K = other.mean_K - self.mean_K
        self.comoment_KK += other.comoment_KK + torch.outer(step_K, step_K) * (self.count * other.count / total)
        self.mean_K += step_K * (other.count / total)
        self.count = total

    def pearson(self) -> Tensor:
        """Correlation matrix (K, K); NaN where a series does not vary."""
        return _normalized(self.comoment_KK)

    def cosine(self) -> Tensor:
        """Cosine similarity matrix (K, K); NaN where a series is zero."""
        return _normalized(self.comoment_KK + self.count * torch.outer(self.mean_K, self.mean_K))


class SignCounts:
    """Counts of equal and opposite signs for every pair of K series.

    Args:
        series: K.
    """

    def __init__(self, series: int) -> None:
        self.both_KK = torch.zeros(series, series, dtype=torch.float64)
        self.agreement_KK = torch.zeros(series, series, dtype=torch.float64)

    def add(self, block_KC: Tensor) -> None:
        """Add the next C elements of every series; counts are exact in float64 up to 2^53 elements."""
        signs_KC = block_KC.sign()
        self.agreement_KK += signs_KC @ signs_KC.T
        nonzero_KC = signs_KC.abs()
        self.both_KK += nonzero_KC @ nonzero_KC.T

    def merge(self, other: SignCounts) -> None:
        """Add everything that `other` has seen."""
        self.both_KK += other.both_KK
        self.agreement_KK += other.agreement_KK

    def conflict(self) -> Tensor:
        """Share (K, K), 0-1, of opposite signs among elements where both are non-zero; NaN where there are none."""
        return (self.both_KK - self.agreement_KK) / 2 / self.both_KK


class GroupSums:
    """Running sums over one group of tensors: a layer, a module kind, or one kind in one layer.

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
        """Add a block of a weight tensor's deltas, both raw and with magnitudes below `cut_K` set to zero."""
        self.raw.add(deltas_KC)
        self.signs.add(deltas_KC)
        self.thresholded.add(deltas_KC.where(deltas_KC.abs() >= cut_K[:, None], 0.0))

    def add_tensor(self, elements: int, squares_K: Tensor, base_square: float, is_weight: bool) -> None:
        """Add one whole tensor's sums of squares: of each delta, and of the base."""
        self.elements += elements
        self.tensors += 1
        self.squares_K += squares_K
        self.base_square += base_square
        if is_weight:
            self.weight_tensors += 1
            self.norms_K += squares_K.sqrt()

    def merge(self, other: GroupSums) -> None:
        """Add everything that `other` has seen."""
        self.elements += other.elements
        self.tensors += other.tensors
        self.weight_tensors += other.weight_tensors
        self.squares_K += other.squares_K
        self.norms_K += other.norms_K
        self.base_square += other.base_square
        self.raw.merge(other.raw)
        self.thresholded.merge(other.thresholded)
        self.signs.merge(other.signs)


def _normalized(matrix_KK: Tensor) -> Tensor:
    norm_K = matrix_KK.diagonal().sqrt()
    return (matrix_KK / torch.outer(norm_K, norm_K)).clamp(-1, 1)
