"""Diagnosis of the weights by layer and kind of module, as the data of a page's heat maps."""

from __future__ import annotations

from math import isfinite
from typing import Any

import pandas as pd

from src.checkpoints.layers import KINDS
from src.reporting.study_report import Models, StudyReport

# measure -> (label, middle of its colors or None for one that grows from 0, how to read it)
MEASURES: dict[str, tuple[str, float | None, str]] = {
    "relative_l2": ("Relative L2", None, "Norm of the update, divided by the base's norm of the same parameters."),
    "pearson": ("Pearson, all updates", 0.0, "Correlation of two updates; 0: unrelated."),
    "pearson_thresholded": ("Pearson, large updates", 0.0, "The same, with updates below 30% of the largest as 0."),
    "cosine": ("Cosine", 0.0, "Cosine of two updates; 0: at right angles."),
    "sign_conflict": ("Sign conflict", 0.5, "Share of parameters that moved in opposite directions; chance: 0.5."),
    "top_overlap": ("Overlap of the largest", None, "Share of the largest 1% of one update among those of the other."),
    "subspace_overlap": ("Subspace overlap", None, "Share of the leading directions that two updates have in common."),
}  # fmt: skip
Cell = tuple[str, str, float, float | None, float | None]  # layer, kind, value, ends of the band of chance


def heat_data(report: StudyReport) -> dict[str, Any]:
    """Heat maps of a study.

    Returns:
        `layers` and `kinds` in order; `maps`: `measure`, `label`, `middle`, `note`, `subject` (a model, or a pair of
        specialists) and `cells`, (layer, kind, value, low, high) with the band in which 95% of unrelated updates lie.
        Empty without a diagnosis.
    """
    if report.layers.empty:
        return {"layers": [], "kinds": [], "maps": []}
    layers = [str(layer) for layer in report.layers["layer"].drop_duplicates() if layer != "all"]
    present = set(report.layers["kind"])
    maps = [*_distances(report.layers, report.models), *_pairs(report)]
    kinds = [kind for kind in (*KINDS, "all") if kind in present]
    return {"layers": layers, "kinds": kinds, "maps": [one for one in maps if one["cells"]]}


def _distances(layers: pd.DataFrame, models: Models) -> list[dict[str, Any]]:
    return [
        _map("relative_l2", models[str(name)].label, _cells(group, "relative_l2"))
        for name, group in layers.groupby("variant", sort=False)
        if str(name) in models
    ]


def _pairs(report: StudyReport) -> list[dict[str, Any]]:
    tasks = {name: task for task, name in report.specialists.items()}
    table = report.correlations
    table = table[table["first"].isin(tasks) & table["second"].isin(tasks)]
    found = []
    for (first, second), group in table.groupby(["first", "second"], sort=False):
        bands = _bands(report.chance, str(first), str(second))
        for measure in (measure for measure in MEASURES if measure in group.columns):
            known = {key[1:]: ends for key, ends in bands.items() if key[0] == measure}
            found.append(_map(measure, f"{tasks[str(first)]} and {tasks[str(second)]}", _cells(group, measure, known)))
    return found


def _bands(chance: pd.DataFrame, first: str, second: str) -> dict[tuple[str, str, str], tuple[float, float]]:
    """(measure, layer, kind) -> ends of the band of chance."""
    if chance.empty:
        return {}
    rows = chance[(chance["first"] == first) & (chance["second"] == second)]
    return {
        (str(row["metric"]), str(row["layer"]), str(row["kind"])): (float(row["low"]), float(row["high"]))
        for row in rows.to_dict("records")
    }


def _cells(
    rows: pd.DataFrame, column: str, bands: dict[tuple[str, str], tuple[float, float]] | None = None
) -> list[Cell]:
    found: list[Cell] = []
    for row in rows.to_dict("records"):
        key, value = (str(row["layer"]), str(row["kind"])), float(row[column])
        if key[0] != "all" and isfinite(value):
            low, high = (bands or {}).get(key, (None, None))
            found.append((*key, round(value, 4), _rounded(low), _rounded(high)))
    return found


def _rounded(value: float | None) -> float | None:
    return None if value is None or not isfinite(value) else round(value, 4)


def _map(measure: str, subject: str, cells: list[Cell]) -> dict[str, Any]:
    label, middle, note = MEASURES[measure]
    return {"measure": measure, "label": label, "middle": middle, "note": note, "subject": subject, "cells": cells}
