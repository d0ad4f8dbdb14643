import pytest

from src.stages.study.grids import Grid, grid_points
from src.utils.errors import UserError


def test_a_common_coefficient_is_the_same_for_every_task():
    assert Grid(common=[0.5, 1.0]).points(3) == [(0.5, 0.5, 0.5), (1.0, 1.0, 1.0)]


def test_a_plane_has_every_combination_but_the_base():
    assert Grid(plane=[0.0, 0.5, 1.0]).points(2) == [
        *((0.0, 0.5), (0.0, 1.0), (0.5, 0.0), (0.5, 0.5)),
        *((0.5, 1.0), (1.0, 0.0), (1.0, 0.5), (1.0, 1.0)),
    ]
    assert len(Grid(plane=[0.25 * step for step in range(5)]).points(2)) == 24
    assert len(Grid(plane=[0.0, 0.5, 1.0]).points(3)) == 26


def test_a_simplex_sums_to_one():
    points = Grid(simplex=5).points(3)
    assert len(points) == 21
    assert all(sum(point) == pytest.approx(1) for point in points)
    assert (0.2, 0.2, 0.6) in points


def test_a_point_of_two_shapes_is_one():
    assert Grid(common=[0.5], plane=[0.5, 1.0]).points(2).count((0.5, 0.5)) == 1


@pytest.mark.parametrize(
    ("grids", "match"),
    [
        ({"ties": {"lambda": [1.0]}}, r"study\.grids\.ties.*lambda"),
        ({"ties": {"common": ["a"]}}, r"study\.grids\.ties\.common"),
        ({"ties": {}}, r"study\.grids\.ties has no points"),
        ({"ties": {"plane": [0.1 * n for n in range(30)]}}, r"plane: 30 values"),
    ],
)
def test_a_bad_grid_is_refused(grids, match):
    with pytest.raises(UserError, match=match):
        grid_points(grids, 4)
