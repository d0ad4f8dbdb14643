"""Short labels next to points, placed so that they cover neither each other nor a marker."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

# (dx, dy) in points from the marker, best first, and the matching alignment.
_PLACES = (
    (7.0, 4.0, "left", "bottom"),
    (-7.0, 4.0, "right", "bottom"),
    (7.0, -4.0, "left", "top"),
    (-7.0, -4.0, "right", "top"),
    (0.0, 9.0, "center", "bottom"),
    (0.0, -9.0, "center", "top"),
    (14.0, 12.0, "left", "bottom"),
    (-14.0, 12.0, "right", "bottom"),
    (14.0, -12.0, "left", "top"),
    (-14.0, -12.0, "right", "top"),
)
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Label:
    """A text for the point (x, y) in data coordinates; `size` in points."""

    x: float
    y: float
    text: str
    color: str
    size: float = 8.5


def place_labels(axes: Axes, labels: list[Label], obstacles: list[tuple[float, float]]) -> None:
    """Place each label around its point where it covers least; earlier labels choose first.

    Args:
        axes: With final limits.
        labels: Most important first.
        obstacles: Markers to keep clear, in data coordinates.
    """
    figure = axes.figure.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    scale = figure.dpi / 72
    frame = axes.get_window_extent()
    taken = [_around(axes.transData.transform(point), 4 * scale) for point in obstacles]
    for label in labels:
        x, y = axes.transData.transform((label.x, label.y))
        width, height = 0.62 * label.size * len(label.text) * scale, 1.2 * label.size * scale
        boxes = [_box(x + dx * scale, y + dy * scale, width, height, ha, va) for dx, dy, ha, va in _PLACES]
        costs = [sum(_overlap(box, other) for other in taken) + _outside(box, frame.extents) for box in boxes]
        best = min(range(len(boxes)), key=lambda index: costs[index])
        dx, dy, ha, va = _PLACES[best]
        taken.append(boxes[best])
        axes.annotate(
            label.text,
            (label.x, label.y),
            (dx, dy),
            textcoords="offset points",
            ha=ha,
            va=va,
            fontsize=label.size,
            color=label.color,
        )


def _box(x: float, y: float, width: float, height: float, ha: str, va: str) -> Box:
    left = x - {"left": 0.0, "center": width / 2, "right": width}[ha]
    bottom = y - {"bottom": 0.0, "top": height}[va]
    return left, bottom, left + width, bottom + height


def _around(at: np.ndarray, reach: float) -> Box:
    x, y = at
    return x - reach, y - reach, x + reach, y + reach


def _overlap(a: Box, b: Box) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def _outside(box: Box, frame: Box) -> float:
    area = (box[2] - box[0]) * (box[3] - box[1])
    return 10 * (area - _overlap(box, frame))
