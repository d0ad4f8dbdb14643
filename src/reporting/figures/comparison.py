"""The verdict as a picture: mixture minus each merge."""

from __future__ import annotations

from matplotlib.axes import Axes

from src.evaluation.statistics.verdict import StudyVerdict
from src.reporting.figures.pictures import Picture
from src.reporting.format import average_points
from src.reporting.names import method_label
from src.reporting.sentences import comparison_words
from src.reporting.style import drawing, light, method_looks, new_figure

AXIS = "mixture minus merge, points of the average change"


def comparison_picture(verdict: StudyVerdict, seeds: str = "") -> Picture:
    """A forest plot of the verdict's comparisons.

    Args:
        verdict: Result of `decide`.
        seeds: A sentence about mask seeds for the caption.
    """
    rows = verdict.comparisons
    looks = method_looks([row.method for row in rows])
    with drawing():
        figure, axes = new_figure(6.4, 1.2 + 0.38 * len(rows))
        for height, row in enumerate(rows):
            look, gap = looks[row.method], row.difference
            arm = [100 * gap.low, 100 * gap.high]
            axes.plot(arm, [height, height], color=look.color, linewidth=2.4, solid_capstyle="butt")
            axes.plot(100 * gap.difference, height, marker=look.marker, color=look.color, markersize=7.5)
        _frame(axes, [method_label(row.method) for row in rows])
        reach = 1.15 * max(abs(100 * end) for row in rows for end in (row.difference.low, row.difference.high))
        axes.set_xlim(-max(reach, 1e-6), max(reach, 1e-6))
    said = [
        f"{method_label(row.method)} {average_points(row.difference.difference)} "
        f"({average_points(row.difference.low)} to {average_points(row.difference.high)}): {comparison_words(row)}"
        for row in rows
    ]
    caption = (
        f"Average change of the mixture minus that of each method's chosen merge on test data, with "
        f"{verdict.level:.0%} intervals. {seeds}"
    ).strip()
    alt = f"{caption} {'; '.join(said)}."
    return Picture("comparison", "Mixture against each merge", caption, alt, figure)


def _frame(axes: Axes, labels: list[str]) -> None:
    axes.axvline(0, color=light("muted"), linewidth=1.2, zorder=1)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, labelcolor=light("ink"))
    axes.set_xlabel(AXIS)
    axes.set_title("← merging better", loc="left", fontsize=9, fontweight="normal", color=light("muted"))
    axes.set_title("mixing better →", loc="right", fontsize=9, fontweight="normal", color=light("muted"))
