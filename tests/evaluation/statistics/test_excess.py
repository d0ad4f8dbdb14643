import numpy as np
import pytest

from src.evaluation.statistics.excess import split_excess
from src.evaluation.statistics.losses import RowLosses
from src.utils.errors import UserError


def losses(*sums):
    return RowLosses([str(n) for n in range(len(sums))], np.array(sums), np.array([2.0, 2.0]))


def test_the_parts_add_up():
    """Means per token: specialist 1, own half alone 1.75, merge 2."""
    found = split_excess(losses(1.0, 3.0), losses(3.0, 4.0), losses(3.0, 5.0))
    assert found.excess.mean == pytest.approx(1.0)
    assert found.shrinkage.mean == pytest.approx(0.75)
    assert found.interference.mean == pytest.approx(0.25)
    assert found.share == pytest.approx(0.75)
    assert found.shrinkage.low <= 0.75 <= found.shrinkage.high


def test_a_merge_that_is_no_worse_has_no_shares():
    assert split_excess(losses(1.0, 3.0), losses(1.0, 2.0), losses(1.0, 2.0)).share is None


def test_other_rows_are_refused():
    other = RowLosses(["0", "2"], np.array([1.0, 1.0]), np.array([2.0, 2.0]))
    with pytest.raises(UserError, match="same rows"):
        split_excess(losses(1.0, 3.0), other, losses(3.0, 5.0))
