import math

import pytest

from src.search.one_dimension import minimize, vertex
from src.utils.errors import UserError

GRID = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)


class Counted:
    def __init__(self, function):
        self.function, self.asked = function, []

    def __call__(self, places):
        self.asked.append(list(places))
        return [self.function(place) for place in places]


def test_the_vertex_of_a_parabola():
    assert vertex([(0.0, 1.0), (1.0, 0.0), (3.0, 4.0)]) == pytest.approx(1.0)  # (x - 1)^2
    assert vertex([(0.0, 0.0), (1.0, 1.0), (2.0, 0.0)]) is None


@pytest.mark.parametrize("lowest", [0.1, 0.37, 0.62, 0.75, 1.31])
def test_a_parabola_is_found_at_once(lowest):
    asked = Counted(lambda x: 3 + 2 * (x - lowest) ** 2)
    found = minimize(asked, GRID)
    assert found.place == pytest.approx(lowest, abs=1e-9)
    assert found.value == pytest.approx(3)
    assert asked.asked[0] == list(GRID)  # merged in one pass
    places = [place for batch in asked.asked for place in batch]
    assert len(places) == len(set(places)) == len(found.measured) <= 11
    assert not found.at_edge


@pytest.mark.parametrize(
    ("function", "lowest"),
    [
        (lambda x: math.cosh(3 * (x - 0.9)), 0.9),
        (lambda x: abs(x - 0.61), 0.61),
        (lambda x: x**4 - 0.9 * x, (0.9 / 4) ** (1 / 3)),
        (lambda x: 1 - math.exp(-((x - 1.1) ** 2) / 0.05), 1.1),
    ],
    ids=["steep walls", "a corner", "a quartic", "a narrow valley"],
)
def test_other_functions_are_found_within_the_tolerance(function, lowest):
    found = minimize(Counted(function), GRID, tolerance=0.02, budget=8)
    assert found.place == pytest.approx(lowest, abs=0.02)
    assert len(found.measured) <= len(GRID) + 8


def test_a_minimum_at_the_edge_says_so():
    found = minimize(Counted(lambda x: -x), GRID)
    assert (found.place, found.at_edge) == (1.5, True)


@pytest.mark.parametrize("grid", [[0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 0.5, 0.0]])
def test_a_grid_increases(grid):
    with pytest.raises(UserError, match="three or more increasing"):
        minimize(Counted(lambda x: x), grid)
