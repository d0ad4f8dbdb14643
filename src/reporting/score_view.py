"""A `ResultTable` as formatted strings."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from src.reporting.format import average_change, change, interval, score
from src.reporting.names import method_label
from src.reporting.tables import Cell, Column, ResultTable, Row

# A change of this many percent gets the full heat color.
FULL_HEAT = 40.0


@dataclass(frozen=True)
class TextTable:
    """A table of formatted strings; the first column names the row."""

    caption: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class ScoreCell:
    """One score with its interval and its change; `heat` from -1 (far below the specialist) to 1."""

    value: str
    interval: str
    change: str
    heat: float


@dataclass(frozen=True)
class ScoreRow:
    """One model; `group` names the method of a merge and is set on the first row of each method only."""

    label: str
    kind: str
    cells: tuple[ScoreCell, ...]
    average: str
    heat: float
    is_chosen: bool
    group: str


@dataclass(frozen=True)
class ColumnGroup:
    """Neighboring columns of one benchmark."""

    task: str
    benchmark: str
    columns: int


@dataclass(frozen=True)
class ScoreView:
    """A table of scores with one column per metric, grouped by benchmark."""

    caption: str
    groups: tuple[ColumnGroup, ...]
    columns: tuple[Column, ...]
    rows: tuple[ScoreRow, ...]


def score_view(table: ResultTable, caption: str) -> ScoreView:
    """Format every number of a table once, for HTML and Markdown alike."""
    by_benchmark = groupby(table.columns, key=lambda column: (column.task, column.benchmark_label))
    groups = tuple(ColumnGroup(*names, len(list(columns))) for names, columns in by_benchmark)
    rows, seen = [], set()
    for row in table.rows:
        group = method_label(str(row.model.method)) if row.model and row.kind == "merge" else ""
        rows.append(_row(row, table.columns, "" if group in seen else group))
        seen.add(group)
    return ScoreView(caption, groups, table.columns, tuple(rows))


def _row(row: Row, columns: tuple[Column, ...], group: str) -> ScoreRow:
    cells = tuple(_cell(cell, column.decimals) for cell, column in zip(row.cells, columns, strict=True))
    return ScoreRow(row.label, row.kind, cells, average_change(row.average), _heat(row.average), row.is_chosen, group)


def _cell(cell: Cell, decimals: int) -> ScoreCell:
    words = score(cell.value, decimals), interval(cell.low, cell.high, decimals), change(cell.change)
    return ScoreCell(*words, _heat(cell.change))


def _heat(percent: float | None) -> float:
    return 0.0 if percent is None else round(max(-1.0, min(1.0, percent / FULL_HEAT)), 2)
