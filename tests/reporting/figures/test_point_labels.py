from itertools import combinations

import pytest

from src.reporting.figures.point_labels import Label, place_labels
from src.reporting.style import drawing, light, new_figure


def _drawn_boxes(points, texts):
    with drawing():
        figure, axes = new_figure()
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 100)
        place_labels(
            axes, [Label(x, y, text, light("ink")) for (x, y), text in zip(points, texts, strict=True)], points
        )
        figure.draw_without_rendering()
        renderer = figure.canvas.get_renderer() if hasattr(figure.canvas, "get_renderer") else None
        return axes.get_window_extent(), [text.get_window_extent(renderer) for text in axes.texts]


@pytest.mark.parametrize(
    "points",
    [
        [(50, 50), (52, 50), (50, 54), (53, 53)],  # a clump
        [(20 + 6 * i, 80 - 6 * i) for i in range(9)],  # a front
        [(100, 100), (0, 0), (100, 0), (0, 100)],  # the corners
    ],
)
def test_labels_do_not_cover_each_other_and_stay_inside(points):
    frame, boxes = _drawn_boxes(points, [f"0.{i + 1}" for i in range(len(points))])
    assert not [1 for a, b in combinations(boxes, 2) if a.overlaps(b)]
    for box in boxes:
        assert frame.x0 - 2 <= box.x0
        assert box.x1 <= frame.x1 + 2
        assert frame.y0 - 2 <= box.y0
        assert box.y1 <= frame.y1 + 2


def test_a_lone_label_stands_up_and_to_the_right():
    with drawing():
        _, axes = new_figure()
        place_labels(axes, [Label(0.5, 0.5, "mix", light("ink"))], [(0.5, 0.5)])
    assert axes.texts[0].get_ha() == "left"
    assert axes.texts[0].get_va() == "bottom"
