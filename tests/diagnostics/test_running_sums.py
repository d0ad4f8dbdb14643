import numpy as np
import pytest
import torch
from scipy.spatial.distance import cosine
from scipy.stats import pearsonr

from src.diagnostics.running_sums import CoMoments, SignCounts


def _series(offset: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    first, noise = torch.randn(2, 5000, generator=generator, dtype=torch.float64)
    return torch.stack([first, 0.6 * first + noise, -first]) + offset


@pytest.mark.parametrize("offset", [0.0, 3.0, 1e6])
@pytest.mark.parametrize("block", [1, 7, 1024, 5000])
def test_blocks_give_scipys_correlation(offset, block):
    series = _series(offset)
    moments = CoMoments(3)
    for part in series.split(block, dim=1):
        moments.add(part)
    for i, j in [(0, 1), (0, 2), (1, 2)]:
        assert moments.pearson()[i, j] == pytest.approx(pearsonr(series[i], series[j])[0], abs=1e-9)
        assert moments.cosine()[i, j] == pytest.approx(1 - cosine(series[i], series[j]), abs=1e-12)


def test_a_single_pass_keeps_the_digits_that_plain_sums_lose():
    """Variance 1 on a mean of 1e9: sum of squares minus square of the sum has no correct digit left there."""
    series = _series(1e9)
    moments = CoMoments(3)
    for part in series.split(100, dim=1):
        moments.add(part)
    assert moments.comoment_KK[0, 1].item() == pytest.approx(np.cov(series.numpy())[0, 1] * 4999, rel=1e-6)


def test_merging_equals_adding():
    series = _series()
    whole, left, right = CoMoments(3), CoMoments(3), CoMoments(3)
    whole.add(series)
    left.add(series[:, :1234])
    right.add(series[:, 1234:])
    left.merge(right)
    left.merge(CoMoments(3))
    left.add(series[:, :0])
    torch.testing.assert_close(left.comoment_KK, whole.comoment_KK, rtol=1e-12, atol=1e-12)
    assert left.count == 5000


def test_hand_worked_correlation():
    """x = 1 2 3, y = 1 2 6: co-moments 2, 14, 5, so r = 5 / sqrt(28); cosine 23 / sqrt(14 * 41)."""
    moments = CoMoments(2)
    moments.add(torch.tensor([[1.0, 2, 3], [1, 2, 6]], dtype=torch.float64))
    assert moments.pearson()[0, 1].item() == pytest.approx(5 / 28**0.5)
    assert moments.cosine()[0, 1].item() == pytest.approx(23 / (14 * 41) ** 0.5)


def test_a_constant_series_has_no_correlation():
    moments = CoMoments(2)
    moments.add(torch.tensor([[0.0, 0, 0], [1, 2, 6]], dtype=torch.float64))
    assert moments.pearson()[0, 1].isnan()
    assert moments.cosine()[0, 1].isnan()


def test_sign_conflict_counts_only_where_both_moved():
    """Signs ++ +- -- -0 00: three elements where both are non-zero, one of them in conflict."""
    counts, halves = SignCounts(2), SignCounts(2)
    block = torch.tensor([[1.0, 2, -3, -4, 0], [5, -6, -7, 0, 0]], dtype=torch.float64)
    counts.add(block)
    assert counts.conflict()[0, 1].item() == pytest.approx(1 / 3)
    halves.add(block[:, 2:])
    other = SignCounts(2)
    other.add(block[:, :2])
    halves.merge(other)
    assert torch.equal(halves.conflict(), counts.conflict())


def test_no_common_element_gives_nan():
    counts = SignCounts(2)
    counts.add(torch.tensor([[1.0, 0], [0, 1]], dtype=torch.float64))
    assert counts.conflict()[0, 1].isnan()
