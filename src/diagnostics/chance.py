"""Values that two updates would have by chance: one of them shuffled within each of its tensors.

Mean and variance of a sum of products over all permutations are known exactly (Pitman 1937, DOI 10.2307/2984124), so
nothing is shuffled. Of the two, the mean is that of the products of the tensors' means: what remains if only the
tensors, not their elements, correspond.

Shapes: F families, K variants.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from src.diagnostics.running_sums import Doubles, GroupSums

NORMAL_95 = 1.959964


@dataclass(frozen=True)
class Chance:
    """Mean and standard deviation (K, K) of one similarity under shuffling."""

    mean_KK: Doubles
    sd_KK: Doubles

    def row(self, i: int, j: int) -> list[float]:
        """Mean, and the bounds of the central 95 % (normal approximation)."""
        mean, half = float(self.mean_KK[i, j]), NORMAL_95 * float(self.sd_KK[i, j])
        return [mean, mean - half, mean + half]


def by_chance(group: GroupSums) -> dict[str, list[Chance]]:
    """Chance values of `pearson` and `cosine` of each family, and of the shares of signs and of the largest elements.

    The denominator of `sign_conflict` is replaced by its mean; everything else is exact.
    """
    moments, count = group.moments, group.moments.count
    sd_FKK = np.sqrt(group.chance_variance_FKK)
    sums_FK = count * moments.mean_FK
    centered_FKK = group.chance_FKK - sums_FK[:, :, None] * sums_FK[:, None, :] / max(count, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread_FKK, norm_FKK = _scale(moments.comoment_FKK), _scale(moments.product_FKK)
        both_KK = group.chance_FKK[2]
        return {
            "pearson": [Chance(*pair) for pair in zip(centered_FKK / spread_FKK, sd_FKK / spread_FKK, strict=True)],
            "cosine": [Chance(*pair) for pair in zip(group.chance_FKK / norm_FKK, sd_FKK / norm_FKK, strict=True)],
            "sign_conflict": [Chance((1 - group.chance_FKK[1] / both_KK) / 2, sd_FKK[1] / both_KK / 2)],
            "top_overlap": [Chance(group.chance_FKK[-1] / group.smaller_top_KK, sd_FKK[-1] / group.smaller_top_KK)],
        }


def _scale(matrix_FKK: Doubles) -> Doubles:
    norm_FK = np.sqrt(np.einsum("fkk->fk", matrix_FKK))
    found: Doubles = norm_FK[:, :, None] * norm_FK[:, None, :]
    return found
