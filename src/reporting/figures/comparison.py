"""The verdict as a picture: mixture minus each merge."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from src.reporting.format import points
from src.reporting.pictures import Picture
from src.reporting.style import drawing, light, method_looks, new_figure
from src.reporting.subjects import method_label

CAPTION = "Mixture minus the chosen merge of each method on test data, with 95 % intervals."


def comparison_picture(comparisons: pd.DataFrame, axis_label: str) -> Picture | None:
    """A forest plot of `StudyReport.comparisons`; None where there is nothing to compare."""
    rows = comparisons.to_dict("records")
    if not rows:
        return None
    looks = method_looks([str(row["method"]) for row in rows])
    with drawing():
        figure, axes = new_figure(6.4, 1.2 + 0.38 * len(rows))
        for height, row in enumerate(rows):
            look = looks[str(row["method"])]
            arm = [100 * row["low"], 100 * row["high"]]
            axes.plot(arm, [height, height], color=look.color, linewidth=2.4, solid_capstyle="butt")
            axes.plot(100 * row["difference"], height, marker=look.marker, color=look.color, markersize=7.5)
        _frame(axes, [method_label(str(row["method"])) for row in rows], axis_label)
        reach = 1.15 * max(abs(100 * row[side]) for row in rows for side in ("low", "high", "difference"))
        axes.set_xlim(-max(reach, 1e-6), max(reach, 1e-6))
    said = [
        f"{method_label(str(row['method']))} {points(row['difference'])} "
        f"({points(row['low'])} to {points(row['high'])}): {row['verdict']}"
        for row in rows
    ]
    alt = f"{CAPTION} {'; '.join(said)}."
    return Picture("comparison", "Mixture against each merge", CAPTION, alt, figure)


def _frame(axes: Axes, labels: list[str], axis_label: str) -> None:
    axes.axvline(0, color=light("muted"), linewidth=1.2, zorder=1)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, labelcolor=light("ink"))
    axes.set_xlabel(axis_label)
    axes.set_title("← merging better", loc="left", fontsize=9, fontweight="normal", color=light("muted"))
    axes.set_title("mixing better →", loc="right", fontsize=9, fontweight="normal", color=light("muted"))
