"""The table of a study with cells: one row per cell, as CSV, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from src.reporting.pages import render_page
from src.utils.files import write_text


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
    results: Mapping[str, object]
    command: str


def write_cells(title: str, cells: Sequence[CellResult], directory: Path) -> None:
    """Write `cells.csv` (one row per cell), `report.md` and `report.html`.

    Args:
        title: Of the page.
        cells: In the order of the rows.
        directory: Of the three files.
    """
    rows = [{**cell.values, **_scalars(cell.results), "study": cell.directory} for cell in cells]
    write_text(directory / "cells.csv", pd.DataFrame(rows).to_csv(index=False))
    shown = [(", ".join(f"{axis} {value}" for axis, value in cell.values.items()), cell) for cell in cells]
    lines = [f"- [{name}]({cell.directory}/report.md): {cell.sentence}  \n  `{cell.command}`" for name, cell in shown]
    write_text(directory / "report.md", "\n".join([f"# {title}", "", *lines, ""]))
    write_text(directory / "report.html", render_page("cells.html.j2", title=title, cells=shown))


def _scalars(results: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Numbers and texts of a nested record, named by their paths."""
    found: dict[str, object] = {}
    for key, value in results.items():
        if isinstance(value, Mapping):
            found |= _scalars(value, f"{prefix}{key}.")
        elif isinstance(value, (str, int, float)):
            found[prefix + str(key)] = value
    return found
