"""A study's scores beside published ones, cell by cell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from src.evaluation.statistics.bootstrap import Interval
from src.reporting.format import interval, score, signed
from src.reporting.names import benchmark_label, metric_label
from src.reporting.published.tables import SPECIALISTS, Published, PublishedRow
from src.reporting.study_report import StudyReport

KINDS = {"base": "base", "mixture": "mix"}


@dataclass(frozen=True)
class BesideCell:
    """One score: as published, ours with its 95% interval, and their difference; fractions, None where we have none."""

    published: float
    decimals: int
    ours: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def is_inside(self) -> bool | None:
        """True if the published score lies inside our interval; None without one."""
        return None if self.low is None or self.high is None else self.low <= self.published <= self.high

    @property
    def texts(self) -> tuple[str, str, str, str]:
        """Published, ours, our interval, and the difference with its place, on the 0-100 scale."""
        decimals = max(1, self.decimals - 2)
        if self.ours is None:
            return score(self.published, decimals), "–", "", ""
        place = "" if self.is_inside is None else " inside" if self.is_inside else " outside"
        difference = signed(100 * (self.ours - self.published), decimals)
        ends = interval(self.low, self.high, decimals)
        return score(self.published, decimals), score(self.ours, decimals), ends, f"{difference}{place}"


@dataclass(frozen=True)
class BesideTable:
    """A published table beside ours.

    Attributes:
        title: For example `"Table 5, Qwen2.5-Coder 1.5B"`.
        columns: Labels of the metrics, with those of their benchmarks.
        metrics: `benchmark metric` of the columns.
        rows: Label and cells of each row.
    """

    title: str
    columns: tuple[tuple[str, str], ...]
    metrics: tuple[str, ...]
    rows: tuple[tuple[str, tuple[BesideCell, ...]], ...]

    @property
    def summary(self) -> str:
        """How many of the published scores lie inside our intervals."""
        cells = [cell for _, cells in self.rows for cell in cells]
        ours = [cell.is_inside for cell in cells if cell.is_inside is not None]
        if not ours:
            return f"None of the {len(cells)} published scores has one of ours beside it."
        return f"{sum(ours)} of {len(ours)} published scores lie inside our 95% intervals."

    def frame(self) -> pd.DataFrame:
        """Tidy: one row per cell, fractions."""
        return pd.DataFrame(
            {
                "table": self.title, "row": label, "metric": metric, "published": cell.published, "ours": cell.ours,
                "low": cell.low, "high": cell.high, "inside": cell.is_inside,
            }
            for label, cells in self.rows
            for metric, cell in zip(self.metrics, cells, strict=True)
        )  # fmt: skip


def beside(report: StudyReport, published: Published, model: str) -> tuple[BesideTable, ...]:
    """Every published table of a model beside our scores on test data.

    Args:
        report: Our study.
        published: The publication.
        model: As published, one of `published.models.values()`.
    """
    return tuple(
        _table(f"{table}, {name}", rows, published, report)
        for (table, name), rows in published.tables.items()
        if name == model
    )


def _table(title: str, rows: list[PublishedRow], published: Published, report: StudyReport) -> BesideTable:
    metrics = tuple(dict.fromkeys(metric for row in rows for metric in row.scores))
    labels = tuple(
        (metric_label(name), benchmark_label(place)) for place, _, name in (m.partition(" ") for m in metrics)
    )
    ours = {metric: _our_metric(metric, published, report) for metric in metrics}
    shown = tuple((row.label, tuple(_cells(row, ours, published, report))) for row in rows)
    return BesideTable(title, labels, metrics, shown)


def _our_metric(metric: str, published: Published, report: StudyReport) -> tuple[str, str] | None:
    """Our benchmark and metric with the same problems, or None."""
    place, _, name = metric.partition(" ")
    names = {place, *(ours for ours, theirs in published.benchmarks.items() if theirs == place)}
    return next((key for key in report.scores["test"].measured if key[0] in names and key[1] == name), None)


def _cells(
    row: PublishedRow, ours: Mapping[str, tuple[str, str] | None], published: Published, report: StudyReport
) -> Iterator[BesideCell]:
    means = report.scores["test"].means
    for metric, key in ours.items():
        if metric not in row.scores:
            continue
        value, decimals = row.scores[metric]
        name = _our_model(row, published.task_of(metric), report)
        found: Interval | None = means[name][key] if key is not None and name in means else None
        yield BesideCell(value, decimals, *((found.mean, found.low, found.high) if found else ()))


def _our_model(row: PublishedRow, task: str, report: StudyReport) -> str:
    """Name of our model of the same kind, method and coefficients; empty if there is none."""
    if row.method == SPECIALISTS:
        return report.specialists.get(task, "")
    for name, model in report.models.items():
        if model.kind == KINDS.get(row.method):
            return name
        if model.kind == "merge" and model.method == row.method and _same_weights(row, model.weight, model.weights):
            return name
    return ""


def _same_weights(row: PublishedRow, weight: float | None, weights: tuple[float, ...] | None) -> bool:
    ours = weights if weights is not None else None if weight is None else (weight, 1 - weight)
    if ours is None or row.weights is None or row.density not in (None, 0.5):
        return False
    return all(abs(a - b) < 1e-9 for a, b in zip(ours, row.weights, strict=False))
