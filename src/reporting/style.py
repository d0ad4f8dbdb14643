"""One look for every figure: colors that color-blind readers can tell apart, on light and dark backgrounds.

Figures are drawn in the light colors. `pictures.inline_svg` swaps each of them for a CSS variable of the same name, so
a figure inside the HTML report follows the reader's light or dark mode.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from src.reporting.colors import COLORS
from src.reporting.names import METHODS, SPARE_STYLES
from src.reporting.study_report import Models

_SPECIALIST_COLORS = ("blue", "red", "gold", "cyan")
_RC: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10.0,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.0,
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "legend.handlelength": 2.6,
    "axes.unicode_minus": True,
    "text.parse_math": False,
    # Text stays text: it uses the page's font, can be searched and read aloud, and keeps the file small.
    "svg.fonttype": "none",
    "svg.hashsalt": "mixmerge",
    "figure.dpi": 100.0,
    "savefig.dpi": 160.0,
}


@dataclass(frozen=True)
class Look:
    """Color, marker and line of one series; no two series differ by color alone."""

    color: str
    marker: str
    line: Any = "-"
    size: float = 9.0


def light(name: str) -> str:
    """The hexadecimal color in which figures are drawn."""
    return COLORS[name][0]


def drawing() -> AbstractContextManager[None]:
    """A context in which new figures use this style; global settings are restored on exit."""
    rc: Any = dict(_RC)
    rc |= dict.fromkeys(("text.color", "axes.titlecolor", "legend.labelcolor"), light("ink"))
    rc |= dict.fromkeys(("axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor"), light("muted"))
    rc |= dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), light("paper"))
    return mpl.rc_context(rc | {"grid.color": light("rule")})


def new_figure(width: float = 5.6, height: float = 4.0) -> tuple[Figure, Axes]:
    """An empty figure (inches) with one pair of axes; call it inside `drawing()`."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def legend_below(axes: Axes, columns: int, drop: float = 0.17) -> None:
    """A legend under the axis label, `drop` axes heights below the axes; none if nothing has a label."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -drop), ncols=columns, columnspacing=1.3)


def looks_of(models: Models) -> dict[str, Look]:
    """A look for every model; all points of one merge method share theirs."""
    methods = method_looks([str(model.method) for model in models.values() if model.kind == "merge"])
    specialists = [model.name for model in models.values() if model.kind == "specialist"]
    looks = {}
    for name, model in models.items():
        if model.kind == "merge":
            looks[name] = methods[str(model.method)]
        elif model.kind == "specialist":
            color = _SPECIALIST_COLORS[specialists.index(name) % len(_SPECIALIST_COLORS)]
            looks[name] = Look(light(color), ("<", ">")[specialists.index(name) % 2])
        else:
            looks[name] = Look(light("gray"), "X") if model.kind == "base" else Look(light("purple"), "*", size=13.0)
    return looks


def method_looks(methods: list[str]) -> dict[str, Look]:
    """A look for every merge method: the one in `METHODS`, or a spare one for methods that it lacks."""
    spare = iter(SPARE_STYLES * (1 + len(methods) // len(SPARE_STYLES)))
    looks = {}
    for method in dict.fromkeys(methods):
        style = METHODS.get(method)
        color, marker, line = (style.color, style.marker, style.line) if style else next(spare)
        looks[method] = Look(light(color), marker, line)
    return looks
