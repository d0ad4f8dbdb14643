"""The reference study's tables as numbers (arXiv 2601.21115): Table 3 and the ablation grid of Tables 5-8."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isnan, sqrt
from statistics import fmean

import pandas as pd

from src.reporting.study_report import StudyReport
from src.reporting.subjects import Subject, benchmark_label, metric_label, subjects_of

Key = tuple[str, str, str, str]
REFERENCE_LABEL = "Each task's own specialist"


@dataclass(frozen=True)
class Column:
    """One metric of one benchmark; `decimals` of its values on the 0-100 scale."""

    task: str
    benchmark: str
    metric: str
    decimals: int = 1

    @property
    def label(self) -> str:
        """For example `"BLEU-4"`."""
        return metric_label(self.metric)

    @property
    def benchmark_label(self) -> str:
        """For example `"pocket summaries"`."""
        return benchmark_label(self.benchmark)


@dataclass(frozen=True)
class Cell:
    """A score (fraction, 95 % interval) and its change in percent against the task's specialist; None where unknown."""

    value: float | None
    low: float | None = None
    high: float | None = None
    change: float | None = None


@dataclass(frozen=True)
class Row:
    """One model: a cell a column, and the mean of their changes in percent."""

    label: str
    kind: str
    cells: tuple[Cell, ...]
    average: float | None
    subject: Subject | None = None
    is_chosen: bool = False


@dataclass(frozen=True)
class ResultTable:
    """Rows and columns of one split."""

    split: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    def frame(self) -> pd.DataFrame:
        """Tidy: one row a model and column, values as fractions, changes in percent."""
        records = [
            {
                "row": row.label,
                "kind": row.kind,
                "task": column.task,
                "benchmark": column.benchmark,
                "metric": column.metric,
                "value": cell.value,
                "low": cell.low,
                "high": cell.high,
                "change_percent": cell.change,
                "average_change_percent": row.average,
            }
            for row in self.rows
            for column, cell in zip(self.columns, row.cells, strict=True)
        ]
        return pd.DataFrame(records)


def headline_table(report: StudyReport, split: str = "test") -> ResultTable:
    """Table 3: base, specialists, mixture, and the chosen merge of each method."""
    chosen = set(report.chosen["subject"])
    return _result_table(report, split, lambda subject: subject.kind != "merge" or subject.name in chosen)


def ablation_table(report: StudyReport) -> ResultTable:
    """Tables 5-8: every merge point on the split that holds the grid, below the reference and the mixture."""
    split = grid_split(report.scores)
    return _result_table(report, split, lambda subject: subject.kind in ("merge", "mix"))


def grid_split(scores: pd.DataFrame) -> str:
    """The split on which most merge points were scored: validation, unless a study has none."""
    merges = scores[scores["kind"] == "merge"]
    counts = {split: merges.loc[merges["split"] == split, "subject"].nunique() for split in ("validation", "test")}
    return max(counts, key=lambda split: counts[split])


def average_change(columns: tuple[Column, ...], cells: tuple[Cell, ...]) -> float | None:
    """Mean over tasks of the mean change in percent of a task's columns; None unless every column has a change.

    With as many columns a task, as in the study, this is its "Avg" over all columns.
    """
    changes: dict[str, list[float]] = {}
    for column, cell in zip(columns, cells, strict=True):
        if cell.change is None:
            return None
        changes.setdefault(column.task, []).append(cell.change)
    return fmean(fmean(found) for found in changes.values()) if changes else None


def task_scores(report: StudyReport, split: str) -> dict[tuple[str, str], Cell]:
    """The headline metric by (subject, task): mean over benchmarks, whose intervals join as independent ones.

    Pairs without a score are left out; the changes are not filled in.
    """
    groups: dict[tuple[str, str], list[Cell]] = {}
    for (subject, task, _, metric), cell in _means(report.scores, split).items():
        if task in report.tasks and metric == report.headline[task] and cell.value is not None:
            groups.setdefault((subject, task), []).append(cell)
    return {key: _joined(cells) for key, cells in groups.items()}


def _joined(cells: list[Cell]) -> Cell:
    mean = sum(cell.value or 0.0 for cell in cells) / len(cells)
    down = _joined_arm([(cell.value, cell.low) for cell in cells])
    up = _joined_arm([(cell.value, cell.high) for cell in cells])
    return Cell(mean, None if down is None else mean - down, None if up is None else mean + up)


def _joined_arm(pairs: list[tuple[float | None, float | None]]) -> float | None:
    arms = [bound - value for value, bound in pairs if value is not None and bound is not None]
    return sqrt(sum(arm**2 for arm in arms)) / len(arms) if len(arms) == len(pairs) else None


def _result_table(report: StudyReport, split: str, wanted: Callable[[Subject], bool]) -> ResultTable:
    scores = _means(report.scores, split)
    columns = _columns(report, scores)
    references = [scores.get((report.specialists[c.task], c.task, c.benchmark, c.metric)) for c in columns]
    chosen = set(report.chosen["subject"])
    scored = {key[0] for key in scores}
    subjects = subjects_of(report.scores, report.specialists).values()
    rows = [
        _row(subject, columns, scores, references, subject.name in chosen)
        for subject in subjects
        if subject.name in scored and wanted(subject)
    ]
    above = sum(row.kind in ("base", "specialist") for row in rows)
    return ResultTable(split, columns, (*rows[:above], _reference_row(columns, references), *rows[above:]))


def _means(scores: pd.DataFrame, split: str) -> dict[Key, Cell]:
    """Mean over seeds of value, low and high by (subject, task, benchmark, metric)."""
    rows = scores[scores["split"] == split]
    means = rows.groupby(["subject", "task", "benchmark", "metric"], sort=False)[["value", "low", "high"]].mean()
    return {
        (str(subject), str(task), str(benchmark), str(metric)): Cell(*(None if isnan(x) else float(x) for x in values))
        for (subject, task, benchmark, metric), values in zip(means.index, means.to_numpy(), strict=True)
    }


def _columns(report: StudyReport, scores: dict[Key, Cell]) -> tuple[Column, ...]:
    seen = list(dict.fromkeys(key[1:] for key in scores))
    ordered = sorted((key for key in seen if key[0] in report.tasks), key=lambda key: report.tasks.index(key[0]))
    columns = []
    for task, benchmark, metric in ordered:
        values = [cell.value or 0.0 for key, cell in scores.items() if key[1:] == (task, benchmark, metric)]
        # Unsmoothed BLEU-4 of real models is 0.02-0.06: one decimal of 0-100 would hide what the study compares.
        columns.append(Column(task, benchmark, metric, decimals=2 if max(values) < 0.1 else 1))
    return tuple(columns)


def _row(
    subject: Subject, columns: tuple[Column, ...], scores: dict[Key, Cell], references: list[Cell | None], chosen: bool
) -> Row:
    cells = []
    for column, reference in zip(columns, references, strict=True):
        cell = scores.get((subject.name, column.task, column.benchmark, column.metric), Cell(None))
        cells.append(Cell(cell.value, cell.low, cell.high, _change(cell, reference)))
    return Row(subject.label, subject.kind, tuple(cells), average_change(columns, tuple(cells)), subject, chosen)


def _reference_row(columns: tuple[Column, ...], references: list[Cell | None]) -> Row:
    cells = [Cell(None) if ref is None else Cell(ref.value, ref.low, ref.high, _change(ref, ref)) for ref in references]
    return Row(REFERENCE_LABEL, "reference", tuple(cells), average_change(columns, tuple(cells)))


def _change(cell: Cell, reference: Cell | None) -> float | None:
    if cell.value is None or reference is None or not reference.value:
        return None
    return 100 * (cell.value / reference.value - 1)
