"""The scores of a report as the data of its page."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import Any

import numpy as np
import pandas as pd

from src.evaluation.statistics.averages import RelativeScores
from src.evaluation.statistics.scores import Metric
from src.reporting.format import coefficient
from src.reporting.names import method_label
from src.reporting.page.marks import marks_of
from src.reporting.study_report import StudyModel, StudyReport
from src.reporting.tables import Column, columns_of, grid_split

AVERAGE = "average"
LABELS = {"mix": "Data mixture"}  # of all mixtures together
RESAMPLES = 2000  # for the intervals of averages
Numbers = list[float | None]


def page_data(report: StudyReport) -> dict[str, Any]:
    """All models, metrics and scores of a report.

    Returns:
        `tasks`; `columns` (metrics, the average last); `axes` (keys of the columns that a chart shows first); `groups`
        (what a reader can select: base, specialists, mixture, methods); `models`, those with the same `front` on one
        line; `splits` (split -> its name); `scores` (split -> model -> one [value, low, high, change] per column,
        fractions); `grid` (the split with the merge points); `champions`.
    """
    splits = sorted(report.scores, key=lambda split: split != "test")
    columns = columns_of(report, report.scores["test"])
    return {
        "tasks": list(report.tasks),
        "columns": [*map(_column, columns), AVERAGE_COLUMN],
        "axes": [_key(column) for task in report.tasks for column in columns if _leads(report, column, task)][:2],
        "groups": list(_groups(report)),
        "models": list(_models(report)),
        "splits": {split: f"{split} data" for split in splits},
        "scores": {split: _scores(report.scores[split], columns) for split in splits},
        "grid": grid_split(report),
        "champions": [report.verdict.mixture.subject, report.verdict.merge.subject],
    }


AVERAGE_COLUMN = {"key": AVERAGE, "task": "", "label": "Average change", "where": "all tasks", "decimals": 2}


def _column(column: Column) -> dict[str, Any]:
    words = {"task": column.task, "label": column.label, "where": column.benchmark_label}
    return {"key": _key(column), "decimals": column.decimals, **words}


def _key(column: Column) -> str:
    return f"{column.benchmark} {column.metric}"


def _leads(report: StudyReport, column: Column, task: str) -> bool:
    return column.task == task and column.metric == report.headline[task]


def _groups(report: StudyReport) -> Iterator[dict[str, Any]]:
    """Base, specialists and mixture each on its own, and every method with all its points."""
    marks, seen = marks_of(report.models), set()
    for name, model in report.models.items():
        group = _group(model)
        if group not in seen:
            seen.add(group)
            label = LABELS.get(model.kind, method_label(str(model.method)) if model.kind == "merge" else model.label)
            yield {"key": group, "label": label, "kind": model.kind, **marks[name]}


def _group(model: StudyModel) -> str:
    return f"merge {model.method}" if model.kind == "merge" else f"{model.kind} {model.task or ''}".strip()


def _models(report: StudyReport) -> Iterator[dict[str, Any]]:
    commands = _commands(report.commands)
    for name, model in report.models.items():
        yield {
            "name": name, "label": model.label, "group": _group(model), "kind": model.kind, "weight": model.weight,
            "front": "" if model.weight is None else _group(model),
            "coefficients": _coefficients(model, report.tasks), "chosen": name in report.chosen,
            "commands": commands.get(name, []),
        }  # fmt: skip


def _coefficients(model: StudyModel, tasks: tuple[str, ...]) -> str:
    """In words: `"codegen 0.3, codesum 0.7"`; empty for models without."""
    if model.weights is not None:
        return ", ".join(f"{task} {coefficient(at)}" for task, at in zip(tasks, model.weights, strict=True))
    if model.weight is None:
        return ""
    rest = round((1 - model.weight) / (len(tasks) - 1), 10) if len(tasks) > 1 else None
    return ", ".join(f"{task} {coefficient(rest if i else model.weight)}" for i, task in enumerate(tasks))


def _commands(commands: pd.DataFrame) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in commands.to_dict("records"):
        found.setdefault(str(row["subject"]), []).append(str(row["command"]))
    return found


def _scores(relative: RelativeScores, columns: list[Column]) -> dict[str, list[Numbers]]:
    keys = [(column.benchmark, column.metric) for column in columns]
    drawn_RS = relative.drawn_averages(RESAMPLES, 0)
    known = len(drawn_RS) and len(relative.left_out) < len(relative.metrics)
    ends_2S = np.quantile(drawn_RS, (0.025, 0.975), axis=0) if known else np.full((2, len(relative.subjects)), np.nan)
    found = {}
    for place, name in enumerate(relative.subjects):
        average = relative.averages[name].mean if known else None
        cells = [_cell(relative, name, key) for key in keys]
        found[name] = [*cells, _numbers(average, *ends_2S[:, place], average)]
    return found


def _cell(relative: RelativeScores, name: str, key: Metric) -> Numbers:
    mean = relative.means[name][key]
    return _numbers(mean.mean, mean.low, mean.high, relative.averages[name].changes.get(key))


def _numbers(*values: float | None) -> Numbers:
    return [None if value is None or not isfinite(value) else round(float(value), 6) for value in values]
