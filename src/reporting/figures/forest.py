"""Forest plot: the difference between mixing and merging in several studies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from src.reporting.figures.pictures import Picture
from src.reporting.style import drawing, light, new_figure

LOOKS = {"mix": ("purple", "*"), "merge": ("blue", "o"), "equivalent": ("gray", "s"), "undecided": ("gray", "D")}


@dataclass(frozen=True)
class ForestRow:
    """One study.

    Attributes:
        label: Shown at the left.
        difference: Mixture minus merge, a fraction of the average.
        low: Lower end of its interval.
        high: Upper end.
        outcome: `mix`, `merge`, `equivalent` or `undecided`.
    """

    label: str
    difference: float
    low: float
    high: float
    outcome: str


def forest_picture(rows: Sequence[ForestRow], margin: float) -> Picture:
    """The differences from the first row at the top to the last.

    Args:
        rows: One or more.
        margin: Half width of the band in which both sides are equivalent.
    """
    with drawing():
        figure, axes = new_figure(6.4, 1.1 + 0.3 * max(2, len(rows)))
        axes.axvspan(-100 * margin, 100 * margin, color=light("rule"), zorder=0)
        axes.axvline(0, color=light("muted"), linewidth=1)
        for height, row in enumerate(rows):
            color, marker = LOOKS[row.outcome]
            axes.plot([100 * row.low, 100 * row.high], [height, height], color=light(color), linewidth=2)
            axes.plot(
                100 * row.difference, height, marker, color=light(color), markersize=10 if marker == "*" else 6,
                markerfacecolor=light("paper") if row.outcome == "undecided" else light(color),
            )  # fmt: skip
        axes.set_yticks(range(len(rows)), [row.label for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("mixture minus best merge, points of the average")
        for place, words in ((0.0, "← merging is better"), (1.0, "mixing is better →")):
            axes.text(
                place, 1.02, words, transform=axes.transAxes, ha="right" if place else "left", color=light("muted")
            )
    said = "; ".join(f"{row.label}: {100 * row.difference:+.2f} points, {row.outcome}" for row in rows)
    caption = (
        "Mixture minus the merge chosen on validation data, test data, with 95% intervals. Band: less than "
        f"{100 * margin:g} points, which counts as no difference. Open: undecided."
    )
    return Picture("cells", "Difference in each cell", caption, f"Mixture minus merge. {said}", figure)
