"""Oracles: the full singular value decomposition."""

import pytest
import torch

from src.diagnostics.spectra import overlap_by_chance, spectrum, subspace_overlap


def _matrix(rows: int, columns: int, seed: int, decay: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    left, right = (
        torch.linalg.qr(torch.randn(side, min(rows, columns), generator=generator)).Q for side in (rows, columns)
    )
    return left @ torch.diag(decay ** torch.arange(min(rows, columns), dtype=torch.float32)) @ right.T


def _spectrum(matrix, rank=8, seed=0):
    return spectrum(matrix, float(matrix.double().square().sum()), rank, seed)


@pytest.mark.parametrize(("decay", "tolerance"), [(0.5, 1e-4), (0.97, 0.02), (1.0, 0.02)])
def test_effective_rank_of_large_matrices(decay, tolerance):
    """Sums over a geometric sequence of singular values: 16 from the range, the others from probes, without bias."""
    matrix = _matrix(300, 200, 1, decay)
    values = torch.linalg.svdvals(matrix.double())
    found = [_spectrum(matrix, seed=seed) for seed in range(20)]
    effective = float(values.square().sum() ** 2 / values.pow(4).sum())
    assert sum(one.effective_rank for one in found) / 20 == pytest.approx(effective, rel=tolerance)
    assert all(one.effective_rank == pytest.approx(effective, rel=0.15) for one in found)
    assert found[0].stable_rank == pytest.approx(float(values.square().sum() / values[0] ** 2), rel=0.08)


def test_small_matrices_are_exact():
    """Singular values 1, 1/2, 1/4: (21/16)^2 / (273/256) = 441/273."""
    assert _spectrum(_matrix(3, 5, 0, 0.5)).effective_rank == pytest.approx(441 / 273, rel=1e-5)


def test_leading_vectors_are_those_of_the_full_decomposition():
    matrix = _matrix(300, 200, 2, 0.8)
    left, _, right = torch.linalg.svd(matrix)
    found = _spectrum(matrix)
    for ours, theirs in ((found.left, left[:, :8]), (found.right, right[:8].T)):
        assert float((ours.T @ theirs).square().sum()) == pytest.approx(8, abs=1e-3)


def test_overlap_of_equal_and_of_random_subspaces():
    noise = [torch.randn(300, 200, generator=torch.Generator().manual_seed(k)) for k in (3, 4)]
    one, other = (_spectrum(matrix, seed=seed) for seed, matrix in enumerate(noise))
    assert subspace_overlap(one, one) == pytest.approx((1, 1), abs=1e-5)
    assert subspace_overlap(one, other)[0] == pytest.approx(overlap_by_chance((300, 200), 8), abs=0.015)
    assert overlap_by_chance((300, 200), 8) == pytest.approx((8 / 300 + 8 / 200) / 2)
