"""Statistics of several series in one pass over their blocks, in float64.

Shapes: F families (the raw updates, their signs, ...), K series of each (one per variant), C elements of a block.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
RAW, SIGN, NONZERO, TOP = "raw", "sign", "nonzero", "top"


class CoMoments:
    """Means and centered co-moments of K series of F families that arrive block by block.

    Each block is centered before it is multiplied, and blocks are joined by the pairwise update of Chan, Golub and
    LeVeque (1979). No digits are lost when the mean is large compared with the spread, and blocks of any size and order
    give the same result up to rounding.

    Args:
        families: F.
        series: K.
    """

    def __init__(self, families: int, series: int) -> None:
        self.count = 0
        self.mean_FK = np.zeros((families, series))
        self.comoment_FKK = np.zeros((families, series, series))

    @classmethod
    def of_block(cls, block_FKC: Doubles) -> CoMoments:
        """Those of one block."""
        found = cls(*block_FKC.shape[:2])
        found.count = block_FKC.shape[2]
        if found.count:
            found.mean_FK = block_FKC.mean(axis=2)
            with np.errstate(invalid="ignore"):  # Inf is reported with the name of its tensor
                centered_FKC = block_FKC - found.mean_FK[:, :, None]
                found.comoment_FKK = centered_FKC @ centered_FKC.swapaxes(1, 2)
        return found

    @classmethod
    def joined(cls, parts: Sequence[CoMoments]) -> CoMoments:
        """All that the parts, one or more, have seen."""
        found = cls(*parts[0].mean_FK.shape)
        count_B = np.array([part.count for part in parts], float)[:, None, None]
        mean_BFK = np.stack([part.mean_FK for part in parts])
        found.count = sum(part.count for part in parts)
        if found.count:
            with np.errstate(invalid="ignore"):
                found.mean_FK = (count_B * mean_BFK).sum(axis=0) / found.count
                step_BFK = mean_BFK - found.mean_FK
                between_FKK = np.einsum("bfi,bfj->fij", count_B * step_BFK, step_BFK)
            found.comoment_FKK = sum((part.comoment_FKK for part in parts), between_FKK)
        return found

    def merge(self, other: CoMoments) -> None:
        """Add everything that `other` has seen."""
        if not other.count:
            return
        total = self.count + other.count
        step_FK = other.mean_FK - self.mean_FK
        outer_FKK = step_FK[:, :, None] * step_FK[:, None, :]
        self.comoment_FKK += other.comoment_FKK + outer_FKK * (self.count * other.count / total)
        self.mean_FK += step_FK * (other.count / total)
        self.count = total

    @property
    def product_FKK(self) -> Doubles:
        """Sums of products, not centered."""
        return self.comoment_FKK + self.count * _outer(self.mean_FK)

    def pearson(self) -> Doubles:
        """Correlation matrices (F, K, K); NaN where a series does not vary."""
        return _normalized(self.comoment_FKK)

    def cosine(self) -> Doubles:
        """Cosine similarity matrices (F, K, K); NaN where a series is zero."""
        return _normalized(self.product_FKK)


class GroupSums:
    """Running sums over one group of tensors: a layer, a module kind, or one kind in one layer.

    `chance_FKK` and `chance_variance_FKK` are the exact mean and variance of the sums of products if the elements of
    one of the two series were shuffled within each tensor.

    Args:
        families: F; the first is the raw updates.
        variants: K.
    """

    def __init__(self, families: int, variants: int) -> None:
        self.elements = 0
        self.tensors = 0
        self.weight_tensors = 0
        self.squares_K = np.zeros(variants)
        self.norms_K = np.zeros(variants)
        self.base_square = 0.0
        self.moments = CoMoments(families, variants)
        self.chance_FKK, self.chance_variance_FKK = np.zeros((2, families, variants, variants))
        self.smaller_top_KK = np.zeros((variants, variants))
        self.spectra = SpectralSums(variants)

    def add_tensor(self, elements: int, squares_K: Doubles, base_square: float) -> None:
        """Add a whole tensor's sums of squares: of each update, and of the base."""
        self.elements += elements
        self.tensors += 1
        self.squares_K += squares_K
        self.base_square += base_square

    def add_weights(self, moments: CoMoments) -> None:
        """Add the moments of a whole weight tensor; the last family marks its largest elements."""
        self.weight_tensors += 1
        self.norms_K += np.sqrt(np.einsum("kk->k", moments.product_FKK[0]))
        self.moments.merge(moments)
        self.chance_FKK += moments.count * _outer(moments.mean_FK)
        spread_FK = np.einsum("fkk->fk", moments.comoment_FKK)
        self.chance_variance_FKK += _outer(spread_FK) / max(moments.count - 1, 1)
        size_K = moments.count * moments.mean_FK[-1]
        self.smaller_top_KK += np.minimum(size_K[:, None], size_K[None, :])

    def merge(self, other: GroupSums) -> None:
        """Add everything that `other` has seen."""
        self.elements += other.elements
        self.tensors += other.tensors
        self.weight_tensors += other.weight_tensors
        self.squares_K += other.squares_K
        self.norms_K += other.norms_K
        self.base_square += other.base_square
        self.moments.merge(other.moments)
        self.chance_FKK += other.chance_FKK
        self.chance_variance_FKK += other.chance_variance_FKK
        self.smaller_top_KK += other.smaller_top_KK
        self.spectra.merge(other.spectra)


class SpectralSums:
    """Sums over matrices of what `src.diagnostics.spectra` finds in each.

    Args:
        variants: K.
    """

    def __init__(self, variants: int) -> None:
        self.matrices = 0
        self.effective_rank_K, self.stable_rank_K = np.zeros((2, variants))
        self.overlap_KK, self.cosine_KK = np.zeros((2, variants, variants))
        self.chance = 0.0

    def merge(self, other: SpectralSums) -> None:
        """Add everything that `other` has seen."""
        self.matrices += other.matrices
        self.effective_rank_K += other.effective_rank_K
        self.stable_rank_K += other.stable_rank_K
        self.overlap_KK += other.overlap_KK
        self.cosine_KK += other.cosine_KK
        self.chance += other.chance


def _outer(series_FK: Doubles) -> Doubles:
    return series_FK[:, :, None] * series_FK[:, None, :]


def _normalized(matrix_FKK: Doubles) -> Doubles:
    norm_FK = np.sqrt(np.einsum("fkk->fk", matrix_FKK))
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Doubles = np.clip(matrix_FKK / _outer(norm_FK), -1, 1)
    return found
