import numpy as np
import pytest
import torch
from scipy.spatial.distance import cosine
from scipy.stats import pearsonr

from src.diagnostics.chance import by_chance
from src.diagnostics.running_sums import CoMoments, GroupSums


def _series(offset: float = 0.0) -> np.ndarray:
    generator = torch.Generator().manual_seed(0)
    first, noise = torch.randn(2, 5000, generator=generator, dtype=torch.float64).numpy()
    return np.stack([first, 0.6 * first + noise, -first]) + offset


def _moments(block: np.ndarray) -> CoMoments:
    return CoMoments.of_block(np.asarray(block, float)[None])


def _added(series: np.ndarray, block: int) -> CoMoments:
    moments = CoMoments(1, 3)
    for start in range(0, 5000, block):
        moments.merge(_moments(series[:, start : start + block]))
    return moments


@pytest.mark.parametrize("offset", [0.0, 3.0, 1e6])
@pytest.mark.parametrize("block", [7, 1024, 5000])
def test_blocks_give_scipys_correlation(offset, block):
    series = _series(offset)
    moments = _added(series, block)
    for i, j in [(0, 1), (0, 2), (1, 2)]:
        assert moments.pearson()[0, i, j] == pytest.approx(pearsonr(series[i], series[j])[0], abs=1e-9)
        assert moments.cosine()[0, i, j] == pytest.approx(1 - cosine(series[i], series[j]), abs=1e-12)


def test_a_single_pass_keeps_the_digits_that_plain_sums_lose():
    """Variance 1 on a mean of 1e9: sum of squares minus square of the sum has no correct digit left there."""
    series = _series(1e9)
    assert _added(series, 100).comoment_FKK[0, 0, 1] == pytest.approx(np.cov(series)[0, 1] * 4999, rel=1e-6)


def test_merging_and_joining_equal_adding():
    series = _series()
    whole, left, right = _moments(series), _moments(series[:, :1234]), _moments(series[:, 1234:])
    empty = _moments(series[:, :0])
    for joined in (CoMoments.joined([left, empty, right]), left):
        if joined is left:
            left.merge(right)
            left.merge(empty)
        np.testing.assert_allclose(joined.comoment_FKK, whole.comoment_FKK, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(joined.mean_FK, whole.mean_FK, rtol=1e-12, atol=1e-15)
        assert joined.count == 5000


def test_hand_worked_correlation():
    """x = 1 2 3, y = 1 2 6: co-moments 2, 14, 5, so r = 5 / sqrt(28); cosine 23 / sqrt(14 * 41)."""
    moments = _moments([[1.0, 2, 3], [1, 2, 6]])
    assert moments.pearson()[0, 0, 1] == pytest.approx(5 / 28**0.5)
    assert moments.cosine()[0, 0, 1] == pytest.approx(23 / (14 * 41) ** 0.5)


def test_a_constant_series_has_no_correlation():
    moments = _moments([[0.0, 0, 0], [1, 2, 6]])
    assert np.isnan(moments.pearson()[0, 0, 1])
    assert np.isnan(moments.cosine()[0, 0, 1])


def _families(series: np.ndarray) -> np.ndarray:
    """Raw, sign, non-zero, and a mark of what is above 1."""
    return np.stack([series, np.sign(series), np.abs(np.sign(series)), (np.abs(series) > 1).astype(float)])


def test_chance_is_what_shuffling_gives():
    """Shuffle one series within each of two tensors: mean, standard deviation, share in the band."""
    rng = np.random.default_rng(0)
    tensors = [rng.normal(1.0, 1, (2, 60)), rng.normal(-0.5, 2, (2, 90)).round(1)]
    tensors[1][:, :30] = 0

    def group(parts):
        found = GroupSums(4, 2)
        for part in parts:
            found.add_weights(CoMoments.of_block(_families(part)))
        return found

    def values(found):
        pearson, cos, product = found.moments.pearson(), found.moments.cosine(), found.moments.product_FKK
        conflict = (1 - product[1] / product[2]) / 2
        return [matrix[0, 1] for matrix in (pearson[0], cos[0], conflict, product[3] / found.smaller_top_KK)]

    chance = by_chance(group(tensors))
    bands = [chance["pearson"][0], chance["cosine"][0], chance["sign_conflict"][0], chance["top_overlap"][0]]
    drawn = np.array([values(group([np.stack([a, rng.permutation(b)]) for a, b in tensors])) for _ in range(2000)])
    for column, band in zip(drawn.T, bands, strict=True):
        mean, low, high = band.row(0, 1)
        spread = column.std()
        assert mean == pytest.approx(column.mean(), abs=4 * spread / 2000**0.5 + 0.002)
        assert (high - low) / 2 / 1.959964 == pytest.approx(spread, rel=0.1)
        assert 0.93 < ((column >= low) & (column <= high)).mean() < 0.97
