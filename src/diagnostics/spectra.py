"""Leading subspaces and effective rank of the update of one matrix, at bounded cost.

Shapes: m x n matrix, r directions, s random probes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

EXACT = 128  # the smaller side of a matrix; up to here all singular values are computed
OVERSAMPLE, PROBES = 8, 16  # the effective rank is then within a few percent, at worst (equal singular values)


@dataclass(frozen=True)
class Spectrum:
    """What is kept of a matrix.

    Args:
        left: Leading left singular vectors (m, r), the directions of its output.
        right: Leading right singular vectors (n, r), those of its input.
        effective_rank: (sum of s^2)^2 / sum of s^4 over the singular values s: 1 for rank one, k for k equal ones.
        stable_rank: Sum of s^2 / largest s^2.
    """

    left: Tensor
    right: Tensor
    effective_rank: float
    stable_rank: float


def spectrum(matrix: Tensor, square: float, rank: int, seed: int) -> Spectrum:
    """Leading singular vectors and effective rank.

    Small matrices are decomposed. For large ones, the vectors are those of a randomized range finder with one power
    iteration (arXiv 0909.4061), and the sum of s^4 is the trace of the fourth power outside that range, estimated from
    random probes, plus the exact part within (Hutch++, arXiv 2010.09649).

    Args:
        matrix: (m, n), float32, not all zero.
        square: Sum of its squared elements.
        rank: r, at most.
        seed: Of the random probes.
    """
    if min(matrix.shape) <= EXACT:
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        fourth = float(values.double().pow(4).sum())
    else:
        left, values, right, fourth = _randomized(matrix, rank, seed)
    rank = min(rank, len(values))
    return Spectrum(left[:, :rank], right[:rank].T, square**2 / fourth, square / float(values[0].double() ** 2))


def _randomized(matrix: Tensor, rank: int, seed: int) -> tuple[Tensor, Tensor, Tensor, float]:
    generator = torch.Generator().manual_seed(seed)
    columns = min(rank + OVERSAMPLE, *matrix.shape)
    basis = _orthonormal(matrix @ torch.randn(matrix.shape[1], columns, generator=generator))
    basis = _orthonormal(matrix @ _orthonormal(matrix.T @ basis))
    inside = basis.T @ matrix  # (r, n)
    left, values, right = torch.linalg.svd(inside, full_matrices=False)
    # trace((D D^T)^2) = |Q^T D D^T Q|^2 + 2 |(1 - Q Q^T) D D^T Q|^2 + trace of what is outside on both sides
    through = matrix @ inside.T  # D D^T Q, (m, r)
    within = basis.T @ through
    across = through - basis @ within
    probes = torch.randn(matrix.shape[0], PROBES, generator=generator)
    probes -= basis @ (basis.T @ probes)
    image = matrix @ (matrix.T @ probes)
    image -= basis @ (basis.T @ image)
    squares = (float(part.double().square().sum()) for part in (within, across, image))
    inner, outer, rest = squares
    return basis @ left, values, right, inner + 2 * outer + rest / PROBES


def _orthonormal(columns: Tensor) -> Tensor:
    return torch.linalg.qr(columns).Q


def subspace_overlap(one: Spectrum, other: Spectrum) -> tuple[float, float]:
    """Mean squared cosine of the principal angles, and the cosine of the smallest one; each the mean over both sides.

    The first is 1 for equal subspaces; for random ones about r/m on the left and r/n on the right.
    """
    cosines = [torch.linalg.svdvals(a.T @ b) for a, b in ((one.left, other.left), (one.right, other.right))]
    mean = sum(float(side.square().mean()) for side in cosines) / 2
    return mean, min(sum(float(side[0]) for side in cosines) / 2, 1.0)


def overlap_by_chance(shape: tuple[int, int], rank: int) -> float:
    """`subspace_overlap` to be expected of two random subspaces."""
    return sum(min(rank, *shape) / side for side in shape) / 2
