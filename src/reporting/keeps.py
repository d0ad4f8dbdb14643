"""Merges by their weights: how far they moved, and what they keep of each specialist."""

from __future__ import annotations

import pandas as pd

from src.reporting.figures.weights import variants_in_order
from src.reporting.format import MISSING, significant
from src.reporting.score_view import TextTable
from src.reporting.study_report import StudyReport

CAPTION = (
    "Realized strength: the norm of a model's update, divided by the mean norm of the specialists' updates. Kept of a "
    "specialist: the share of its update that the model holds along its direction; outside: the share of the model's "
    "squared update that no sum of the specialists' updates gives."
)


def keeps_table(report: StudyReport) -> TextTable:
    """One row per mixture and merge of the diagnosis, over the whole model; no rows without a diagnosis."""
    headers = ("Model", "Realized strength", *(f"Kept of {task}" for task in report.tasks), "Outside")
    if report.survival.empty:
        return TextTable(CAPTION, headers, ())
    strength, kept = _strengths(report), _whole(report.survival)
    names = [name for name in variants_in_order(report.layers, report.models) if name in set(kept["merge"])]
    rows = []
    for name in names:
        own = kept[kept["merge"] == name].set_index("specialist")
        shares = (_percent(own["share"].get(report.specialists[task])) for task in report.tasks)
        label = report.models[name].label
        rows.append((label, significant(strength[name]), *shares, _percent(own["unexplained"].iloc[0])))
    return TextTable(CAPTION, headers, tuple(rows))


def _strengths(report: StudyReport) -> dict[str, float]:
    whole = _whole(report.layers).set_index("variant")["l2"]
    mean = whole[[name for name in report.specialists.values() if name in whole.index]].mean()
    return {str(name): float(length) / mean if mean else float("nan") for name, length in whole.items()}


def _whole(table: pd.DataFrame) -> pd.DataFrame:
    return table[(table["layer"] == "all") & (table["kind"] == "all")]


def _percent(share: float | None) -> str:
    return MISSING if share is None or share != share else f"{100 * share:.1f}%"
