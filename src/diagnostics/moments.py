"""Streaming statistics of several series at once, in float64 and in one pass.

Shapes: K series, C elements of a block.
"""

from __future__ import annotations

import torch
from torch import Tensor


class CoMoments:
    """Means and centered co-moments of K series that arrive block by block.

    Blocks are centered before they are multiplied and joined by the pairwise update of Chan, Golub and LeVeque (1979),
    so no digits are lost where a mean is large against the spread; blocks of any size and order give the same result
    to rounding.

    Args:
        series: K.
    """

    def __init__(self, series: int) -> None:
        self.count = 0
        self.mean_K = torch.zeros(series, dtype=torch.float64)
        self.comoment_KK = torch.zeros(series, series, dtype=torch.float64)

    def add(self, block_KC: Tensor) -> None:
        """Take in the next C elements of every series (float64)."""
        if not block_KC.shape[1]:
            return
        block = CoMoments(len(block_KC))
        block.count = block_KC.shape[1]
        block.mean_K = block_KC.mean(dim=1)
        centered_KC = block_KC - block.mean_K[:, None]
        block.comoment_KK = centered_KC @ centered_KC.T
        self.merge(block)

    def merge(self, other: CoMoments) -> None:
        """Take in everything that `other` has seen."""
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
    """How often two of K series point in opposite directions.

    Args:
        series: K.
    """

    def __init__(self, series: int) -> None:
        self.both_KK = torch.zeros(series, series, dtype=torch.float64)
        self.agreement_KK = torch.zeros(series, series, dtype=torch.float64)

    def add(self, block_KC: Tensor) -> None:
        """Take in the next C elements of every series; counts are exact in float64 up to 2^53 elements."""
        signs_KC = block_KC.sign()
        self.agreement_KK += signs_KC @ signs_KC.T
        nonzero_KC = signs_KC.abs()
        self.both_KK += nonzero_KC @ nonzero_KC.T

    def merge(self, other: SignCounts) -> None:
        """Take in everything that `other` has seen."""
        self.both_KK += other.both_KK
        self.agreement_KK += other.agreement_KK

    def conflict(self) -> Tensor:
        """Share (K, K), 0-1, of opposite signs among the elements where both are non-zero; NaN where there is none."""
        return (self.both_KK - self.agreement_KK) / 2 / self.both_KK


def _normalized(matrix_KK: Tensor) -> Tensor:
    norm_K = matrix_KK.diagonal().sqrt()
    return (matrix_KK / torch.outer(norm_K, norm_K)).clamp(-1, 1)
