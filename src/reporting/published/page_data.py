"""Published tables and logs as the data of an interactive page: a table takes the place of a split."""

from __future__ import annotations

from typing import Any

from src.reporting.names import benchmark_label, metric_label
from src.reporting.page.data import AVERAGE_COLUMN, Numbers
from src.reporting.page.marks import marks_of
from src.reporting.published.checks import recomputed_average
from src.reporting.published.tables import SPECIALISTS, Published, PublishedRow
from src.reporting.study_report import Models, StudyModel, models_in_order

KINDS = {"base": "base", SPECIALISTS: "specialist", "mixture": "mix"}


def published_page_data(published: Published) -> dict[str, Any]:
    """All rows, as `page_data` has them; there are no intervals and no commands.

    The average is recomputed from the printed scores; in a log, against the specialists of the model's first table.
    """
    tables = {f"{table}: {model}": rows for (table, model), rows in (published.tables | published.log_tables).items()}
    columns = [_column(metric, published) for metric in published.metrics]
    rows = {row.label: row for rows in tables.values() for row in rows}
    models = models_in_order(_model(row) for row in rows.values())
    return {
        "tasks": list(published.tasks),
        "columns": [*columns, AVERAGE_COLUMN],
        "axes": [published.headline[task] for task in published.tasks][:2],
        "groups": _groups(models, {label: row.method for label, row in rows.items()}),
        "models": [_row(name, model, rows[name]) for name, model in models.items()],
        "splits": {title: title for title in tables},
        "scores": {title: _scores(found, published) for title, found in tables.items()},
        "grid": next((title for title, found in tables.items() if len(found) > 10), next(iter(tables))),
        "champions": [],
    }


def _column(metric: str, published: Published) -> dict[str, Any]:
    place, _, name = metric.partition(" ")
    decimals = 1 if name.startswith("pass@") else 2
    words = {"task": published.task_of(metric), "label": metric_label(name), "where": benchmark_label(place)}
    return {"key": metric, "decimals": decimals, **words}


def _model(row: PublishedRow) -> StudyModel:
    kind = KINDS.get(row.method, "merge")
    weight = None if row.weights is None else row.weights[0]
    return StudyModel(row.label, kind, task=None, method=row.method if kind == "merge" else None, weight=weight)


def _groups(models: Models, methods: dict[str, str]) -> list[dict[str, Any]]:
    marks = marks_of(models)
    found: dict[str, dict[str, Any]] = {}
    for name, model in models.items():
        label = name if model.kind != "merge" else name.split(" ")[0]
        found.setdefault(methods[name], {"key": methods[name], "label": label, "kind": model.kind, **marks[name]})
    return list(found.values())


def _row(name: str, model: StudyModel, row: PublishedRow) -> dict[str, Any]:
    density = "" if row.density is None else f"; density {row.density:g}"
    words = "" if row.weights is None else f"codegen {row.weights[0]:g}, codesum {row.weights[1]:g}{density}"
    return {
        "name": name, "label": name, "group": row.method, "kind": model.kind, "weight": model.weight,
        "front": "" if model.weight is None else f"{row.method} {row.density or ''}",
        "coefficients": words, "chosen": False, "commands": [],
    }  # fmt: skip


def _scores(rows: list[PublishedRow], published: Published) -> dict[str, list[Numbers]]:
    known = [row for row in published.rows if row.model == rows[0].model and row.method == SPECIALISTS]
    reference = next((row for row in rows if row.method == SPECIALISTS), known[0] if known else None)
    found = {}
    for row in rows:
        cells: list[Numbers] = [_cell(row, reference, metric) for metric in published.metrics]
        average = None if reference is None or not row.scores else recomputed_average(row, reference) / 100
        found[row.label] = [*cells, [average, None, None, average]]
    return found


def _cell(row: PublishedRow, reference: PublishedRow | None, metric: str) -> Numbers:
    if metric not in row.scores:
        return [None, None, None, None]
    value = row.scores[metric][0]
    change = None if reference is None or metric not in reference.scores else value / reference.scores[metric][0] - 1
    return [value, None, None, None if change is None else round(change, 6)]
