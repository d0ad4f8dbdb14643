"""The report of a study with cells: a figure with the difference in each cell, and a row per cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from src.reporting.figures.forest import ForestRow, forest_picture
from src.reporting.figures.pictures import inline_svg, write_picture
from src.reporting.format import average_points
from src.reporting.pages import render_page
from src.reporting.verdict_sentences import OUTCOMES, kept
from src.utils.files import write_text

COLUMNS = ("Verdict", "Mixture keeps", "Best merge keeps", "Best merge", "Difference", "95% interval")


@dataclass(frozen=True)
class CellResult:
    """One cell of a study.

    Attributes:
        values: Axis -> value.
        directory: Run directory of its own study, relative to the table's.
        sentence: Its verdict.
        results: Values of its record; numbers and texts become columns.
        command: What repeats it.
    """

    values: Mapping[str, object]
    directory: str
    sentence: str
    results: Mapping[str, Any]
    command: str

    @property
    def decided(self) -> bool:
        """True if the study compared a mixture with merges."""
        return "difference" in self.results

    def shown(self) -> list[str]:
        """Its values of `COLUMNS`; empty without a comparison."""
        if not self.decided:
            return []
        found, gap = self.results, self.results["difference"]
        return [
            OUTCOMES[found["outcome"]],
            kept(found["mixture"]["average"]),
            kept(found["merge"]["average"]),
            str(found["merge"]["subject"]),
            average_points(gap["difference"]),
            f"{average_points(gap['low'])} to {average_points(gap['high'])}",
        ]


def write_cells(title: str, cells: Sequence[CellResult], directory: Path) -> None:
    """Write `cells.csv` (one row per cell), `report.md`, `report.html` and `figures/cells.svg|png`.

    Args:
        title: Of the page.
        cells: In the order of the rows.
        directory: Of the files.
    """
    rows = [{**cell.values, **_scalars(cell.results), "study": cell.directory} for cell in cells]
    write_text(directory / "cells.csv", pd.DataFrame(rows).to_csv(index=False))
    axes, fixed = _axes(cells)
    names = [_name(cell, axes) for cell in cells]
    decided = [(name, cell) for name, cell in zip(names, cells, strict=True) if cell.decided]
    picture = forest_picture([_forest_row(*item) for item in decided], _margin(cells)) if decided else None
    if picture is not None:
        write_picture(picture, directory / "figures")
    summary = [*cells_summary(cells), *([f"The same in all cells: {fixed}."] if fixed else [])]
    write_text(directory / "report.md", _markdown(title, summary, axes, cells, names))
    figure = None if picture is None else {"svg": Markup(inline_svg(picture)), "caption": picture.caption}
    page = render_page(
        "cells.html.j2", title=title, summary=summary, axes=axes, columns=COLUMNS if decided else (),
        cells=cells, figure=figure,
    )  # fmt: skip
    write_text(directory / "report.html", page)


def cells_summary(cells: Sequence[CellResult]) -> list[str]:
    """How many cells ended in which way; nothing for studies that compare nothing."""
    counts = Counter(OUTCOMES[cell.results["outcome"]] for cell in cells if cell.decided)
    if not counts:
        return []
    parts = [f"{word} in {counts[word]}" for word in OUTCOMES.values() if counts[word]]
    return [f"Of {len(cells)} cells: {', '.join(parts)}."]


def cell_lines(cells: Sequence[CellResult]) -> list[str]:
    """One line per cell for the terminal."""
    axes, _ = _axes(cells)
    return [f"{_name(cell, axes)}: {_short(cell)}" for cell in cells]


def _short(cell: CellResult) -> str:
    if not cell.decided:
        return cell.sentence.splitlines()[0]
    outcome, mixture, merge, best, gap, ends = cell.shown()
    return f"{outcome}; mixing keeps {mixture}, the best merge ({best}) {merge}; difference {gap} points ({ends})"


def _name(cell: CellResult, axes: Sequence[str]) -> str:
    return ", ".join(f"{axis} {cell.values[axis]}" for axis in axes) or "the only cell"


def _axes(cells: Sequence[CellResult]) -> tuple[list[str], str]:
    """Axes that vary, and the others with their values."""
    values = {axis: {str(cell.values[axis]) for cell in cells} for axis in cells[0].values}
    fixed = [f"{axis} {next(iter(found))}" for axis, found in values.items() if len(found) == 1]
    return [axis for axis, found in values.items() if len(found) > 1], ", ".join(fixed)


def _margin(cells: Sequence[CellResult]) -> float:
    return float(next(cell.results["margin"] for cell in cells if cell.decided))


def _forest_row(name: str, cell: CellResult) -> ForestRow:
    gap = cell.results["difference"]
    return ForestRow(name, gap["difference"], gap["low"], gap["high"], cell.results["outcome"])


def _markdown(
    title: str, summary: Sequence[str], axes: Sequence[str], cells: Sequence[CellResult], names: Sequence[str]
) -> str:
    lines = [f"# {title}", "", *summary, ""]
    if any(cell.decided for cell in cells):
        lines += ["![Difference in each cell](figures/cells.svg)", "", _row([*axes, *COLUMNS, "Report"])]
        lines += [_row(["---"] * (len(axes) + len(COLUMNS) + 1))]
        lines += [_row([*(str(cell.values[axis]) for axis in axes), *cell.shown(), _link(cell)]) for cell in cells]
        lines += [""]
    for name, cell in zip(names, cells, strict=True):
        lines += [f"- [{name}]({cell.directory}/report.md): {cell.sentence}  \n  `{cell.command}`"]
    return "\n".join([*lines, ""])


def _link(cell: CellResult) -> str:
    return f"[report]({cell.directory}/report.md)"


def _row(values: Sequence[str]) -> str:
    return f"| {' | '.join(values)} |"


def _scalars(results: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Numbers and texts of a nested record, named by their paths."""
    found: dict[str, object] = {}
    for key, value in results.items():
        if isinstance(value, Mapping):
            found |= _scalars(value, f"{prefix}{key}.")
        elif isinstance(value, (str, int, float)):
            found[prefix + str(key)] = value
    return found
