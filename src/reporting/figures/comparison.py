"""The verdict as a picture: mixture minus each merge."""

from __future__ import annotations

from matplotlib.axes import Axes

from src.evaluation.statistics.verdict import StudyVerdict
from src.reporting.figures.pictures import Picture
from src.reporting.format import average_points
from src.reporting.study_report import Models
from src.reporting.style import drawing, light, method_looks, new_figure
from src.reporting.verdict_sentences import OUTCOMES

AXIS = "mixture minus merge, points of the average change"


def comparison_picture(verdict: StudyVerdict, models: Models, seeds: str = "") -> Picture:
    """A forest plot: the comparison that decides, and below it the secondary ones.

    Args:
        verdict: Result of `decide`.
        models: By name.
        seeds: A sentence about mask seeds for the caption.
    """
    rows = [
        (verdict.method, verdict.merge.subject, verdict.difference, OUTCOMES[verdict.outcome]),
        *((row.method, row.subject, row.difference, OUTCOMES[row.winner]) for row in verdict.comparisons),
    ]
    looks = method_looks([method for method, *_ in rows])
    with drawing():
        figure, axes = new_figure(6.4, 1.2 + 0.38 * len(rows))
        axes.axvspan(-100 * verdict.margin, 100 * verdict.margin, color=light("muted"), alpha=0.14, linewidth=0)
        for height, (method, _, gap, _) in enumerate(rows):
            look, width = looks[method], 2.2 if height else 4.4
            axes.plot(
                [100 * gap.low, 100 * gap.high],
                [height, height],
                color=look.color,
                linewidth=width,
                solid_capstyle="butt",
            )
            axes.plot(
                100 * gap.difference, height, marker=look.marker, color=look.color, markersize=7 if height else 10
            )
        _frame(axes, [models[name].label for _, name, *_ in rows])
        ends = [verdict.margin, *(abs(end) for _, _, gap, _ in rows for end in (gap.low, gap.high))]
        reach = 115 * max(ends)
        axes.set_xlim(-max(reach, 1e-6), max(reach, 1e-6))
    said = [
        f"{models[name].label} {average_points(gap.difference)} "
        f"({average_points(gap.low)} to {average_points(gap.high)}): {words}"
        for _, name, gap, words in rows
    ]
    caption = (
        f"Average change of the mixture minus that of each method's chosen merge on test data, with "
        f"{verdict.level:.0%} intervals. The first line decides; the band is the margin of {100 * verdict.margin:g} "
        f"points below which a difference counts as none. {seeds}"
    ).strip()
    alt = f"{caption} {'; '.join(said)}."
    return Picture("comparison", "Mixture against merge", caption, alt, figure)


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
