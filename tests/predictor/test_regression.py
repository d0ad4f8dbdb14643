import numpy as np
import pytest

from src.predictor.regression import _left_out_errors, fit


def _data(rows=60, features=5, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.normal(3, 2, (rows, features))
    groups = np.array([f"g{row % 6}" for row in range(rows)])
    return values, groups, rng


def test_an_exact_line_is_found_with_its_features():
    values, groups, _ = _data()
    targets = 1.5 * values[:, 1] - 2 * values[:, 3] + 7
    line = fit(values, targets, groups)
    assert set(line.columns) == {1, 3}
    np.testing.assert_allclose(line(values), targets, atol=0.3)  # the ridge shrinks by 1/61
    assert dict(zip(line.columns, line.slopes, strict=True))[3] == pytest.approx(-2, rel=0.03)


def test_errors_of_subsets_equal_refits():
    """Ridge with a free intercept, refitted by least squares on rows that stand for the penalty."""
    values, groups, rng = _data()
    whitened = (values - values.mean(axis=0)) / values.std(axis=0)
    targets = values[:, 0] + rng.normal(0, 1, len(values))
    for subset in ([0], [2, 4]):
        squares = 0.0
        for group in np.unique(groups):
            rows = groups == group
            design = np.column_stack([whitened[~rows][:, subset], np.ones((~rows).sum())])
            ridge = np.column_stack([np.eye(len(subset)), np.zeros(len(subset))])
            found = np.linalg.lstsq(np.vstack([design, ridge]), np.r_[targets[~rows], np.zeros(len(subset))])[0]
            guess = np.column_stack([whitened[rows][:, subset], np.ones(rows.sum())]) @ found
            squares += ((guess - targets[rows]) ** 2).sum()
        expected = (squares / len(targets)) ** 0.5
        assert _left_out_errors(whitened, targets, groups, [subset])[0] == pytest.approx(expected, rel=1e-6)


def test_noise_earns_no_second_feature_and_a_constant_none():
    values, groups, rng = _data(rows=300)
    values[:, 4] = 1.0
    line = fit(values, values[:, 2] + rng.normal(0, 0.5, 300), groups)
    assert line.columns == (2,)
    assert fit(np.ones((12, 2)), np.arange(12.0), groups[:12]).columns == ()
