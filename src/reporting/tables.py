"""The reference study's tables as numbers (arXiv 2601.21115): Table 3 and the ablation grid of Tables 5-8."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import sqrt
from statistics import fmean

import pandas as pd

from src.evaluation.statistics.averages import RelativeScores
from src.evaluation.statistics.bootstrap import Interval
from src.evaluation.statistics.scores import Metric
from src.reporting.names import benchmark_label, metric_label
from src.reporting.study_report import StudyModel, StudyReport

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
    """A score (fraction, 95% interval) and its change in percent against the task's specialist.

    The change is None where the specialist scores 0, and in task scores.
    """

    value: float
    low: float
    high: float
    change: float | None = None


@dataclass(frozen=True)
class Row:
    """One model: a cell per column, and its average in percent; None where no metric can be compared."""

    label: str
    kind: str
    cells: tuple[Cell, ...]
    average: float | None
    model: StudyModel | None = None
    is_chosen: bool = False


@dataclass(frozen=True)
class ResultTable:
    """Rows and columns of one split."""

    split: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    def frame(self) -> pd.DataFrame:
        """Tidy: one row per model and column, values as fractions, changes in percent."""
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


def headline_table(report: StudyReport) -> ResultTable:
    """Table 3: base, specialists, mixture and the chosen merge of each method, on test data."""
    return _result_table(report, "test", lambda model: model.kind != "merge" or model.name in report.chosen)


def ablation_table(report: StudyReport) -> ResultTable:
    """Tables 5-8: every merge point on the split that holds the grid, below the reference and the mixture."""
    return _result_table(report, grid_split(report), lambda model: model.kind in ("merge", "mix"))


def grid_split(report: StudyReport) -> str:
    """The split on which most merge points were scored: validation, unless a study has none."""
    counts = {
        split: sum(report.models[name].kind == "merge" for name in relative.subjects)
        for split, relative in report.scores.items()
    }
    return max(sorted(counts, reverse=True), key=lambda split: counts[split])


def task_scores(report: StudyReport, split: str) -> dict[tuple[str, str], Cell]:
    """The headline metric by (model, task): mean over benchmarks, whose intervals are combined as independent.

    Pairs without a score are left out; the changes are not filled in.
    """
    found = {}
    for task in report.tasks:
        for subject, means in report.scores[split].means.items():
            if wanted := [means[key] for key in _headline_metrics(report, split, task)]:
                found[subject, task] = _joined(wanted)
    return found


def task_decimals(report: StudyReport, split: str, task: str) -> int:
    """Decimals of a task's score: the same as those of its columns in the tables."""
    relative = report.scores[split]
    return max((_decimals(relative, key) for key in _headline_metrics(report, split, task)), default=1)


def _headline_metrics(report: StudyReport, split: str, task: str) -> list[Metric]:
    relative, wanted = report.scores[split], report.headline[task]
    return [(name, metric) for name, metric in relative.measured if relative.tasks[name] == task and metric == wanted]


def _joined(intervals: list[Interval]) -> Cell:
    mean = fmean(interval.mean for interval in intervals)
    down = _joined_arm(interval.low - interval.mean for interval in intervals)
    up = _joined_arm(interval.high - interval.mean for interval in intervals)
    return Cell(mean, mean - down, mean + up)


def _joined_arm(arms: Iterable[float]) -> float:
    lengths = list(arms)
    return sqrt(sum(arm**2 for arm in lengths)) / len(lengths)


def _result_table(report: StudyReport, split: str, wanted: Callable[[StudyModel], bool]) -> ResultTable:
    relative = report.scores[split]
    columns = tuple(columns_of(report, relative))
    rows = [
        _row(model, columns, relative, model.name in report.chosen)
        for model in report.models.values()
        if model.name in relative.subjects and wanted(model)
    ]
    above = sum(row.kind in ("base", "specialist") for row in rows)
    reference = _reference_row(report, columns, relative)
    return ResultTable(split, columns, (*rows[:above], reference, *rows[above:]))


def columns_of(report: StudyReport, relative: RelativeScores) -> list[Column]:
    """The study's metrics, task by task."""
    found = [(relative.tasks[benchmark], benchmark, metric) for benchmark, metric in relative.metrics]
    ordered = sorted((key for key in found if key[0] in report.tasks), key=lambda key: report.tasks.index(key[0]))
    return [Column(*key, decimals=_decimals(relative, key[1:])) for key in ordered]


def _decimals(relative: RelativeScores, key: Metric) -> int:
    """One decimal, or two for small scores: real models have an unsmoothed BLEU-4 of 0.02-0.06."""
    return 2 if max(means[key].mean for means in relative.means.values()) < 0.1 else 1


def _row(model: StudyModel, columns: tuple[Column, ...], relative: RelativeScores, chosen: bool) -> Row:
    average = relative.averages[model.name]
    cells = tuple(
        _cell(relative.means[model.name][column.benchmark, column.metric],
              average.changes.get((column.benchmark, column.metric)))
        for column in columns
    )  # fmt: skip
    return Row(model.label, model.kind, cells, 100 * average.mean if average.changes else None, model, chosen)


def _reference_row(report: StudyReport, columns: tuple[Column, ...], relative: RelativeScores) -> Row:
    """The row that all changes refer to, so its own changes and average are 0."""
    keys = [(column.benchmark, column.metric) for column in columns]
    own = [relative.means[report.specialists[column.task]][key] for column, key in zip(columns, keys, strict=True)]
    cells = [_cell(mean, None if key in relative.left_out else 0.0) for key, mean in zip(keys, own, strict=True)]
    comparable = len(relative.left_out) < len(relative.metrics)
    return Row(REFERENCE_LABEL, "reference", tuple(cells), 0.0 if comparable else None)


def _cell(mean: Interval, change: float | None) -> Cell:
    return Cell(mean.mean, mean.low, mean.high, None if change is None else 100 * change)
