"""A study's report as text, numbers formatted, ready for either template."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from src.checkpoints.layers import KINDS
from src.reporting.figures.boxes import box_pictures
from src.reporting.figures.comparison import comparison_picture
from src.reporting.figures.sweep import sweep_pictures
from src.reporting.figures.trade_off import trade_off_pictures
from src.reporting.figures.weights import correlation_picture, norm_pictures, variants_in_order
from src.reporting.format import MISSING, count, duration, p_value, points, significant, size
from src.reporting.pictures import Picture
from src.reporting.reading import correlations_reading, norms_reading
from src.reporting.score_view import ScoreView, score_view
from src.reporting.study_report import StudyReport
from src.reporting.subjects import Subject, method_label, subjects_of
from src.reporting.tables import ResultTable, ablation_table, headline_table


@dataclass(frozen=True)
class TextTable:
    """A table of ready strings; the first column names the row."""

    caption: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class View:
    """What the templates show, section by section; empty tuples and None where a study lacks a part."""

    title: str
    verdict: str
    setup: str
    comparison: Picture | None
    comparisons: TextTable
    headline: ScoreView
    trade_off: tuple[Picture, ...]
    grid: ScoreView
    sweeps: tuple[Picture, ...]
    norms: tuple[Picture, ...]
    norms_reading: str
    correlation: Picture | None
    correlations_reading: str
    boxes: tuple[Picture, ...]
    kinds: TextTable
    cost: TextTable
    commands: tuple[tuple[str, str], ...]
    environment: tuple[tuple[str, str], ...]
    caveats: tuple[str, ...]

    def pictures(self) -> list[Picture]:
        """Every picture, in reading order."""
        groups = [self.comparison], self.trade_off, self.sweeps, self.norms, [self.correlation], self.boxes
        return [picture for group in groups for picture in group if picture is not None]


def study_view(report: StudyReport) -> View:
    """Tables, figures and sentences of a report."""
    subjects = subjects_of(report.scores, report.specialists)
    grid = ablation_table(report)
    return View(
        title=report.title,
        verdict=report.verdict,
        setup=report.setup,
        comparison=comparison_picture(report.comparisons, report.difference_label),
        comparisons=_comparisons(report.comparisons, report.difference_label),
        headline=score_view(headline_table(report), _headline_caption(report)),
        trade_off=tuple(trade_off_pictures(report)),
        grid=score_view(grid, _grid_caption(report, grid)),
        sweeps=tuple(sweep_pictures(report, grid)),
        norms=tuple(norm_pictures(report.layers, subjects)) if len(report.layers) else (),
        norms_reading=norms_reading(report.layers, subjects),
        correlation=correlation_picture(report.correlations, subjects),
        correlations_reading=correlations_reading(report.correlations, subjects),
        boxes=tuple(box_pictures(report.layers, report.correlations, subjects)),
        kinds=_module_kinds(report.layers, subjects),
        cost=_cost(report.cost),
        commands=_commands(report.commands, subjects),
        environment=tuple((name, str(value)) for name, value in report.environment.items()),
        caveats=report.caveats,
    )


def _headline_caption(report: StudyReport) -> str:
    return (
        "Scores on test data, 0–100, with 95 % intervals, and the change in percent against the specialist of the "
        "task. Merges are the points chosen on validation data. The average is the mean over the tasks of the "
        "mean change in a task's columns."
    )


def _grid_caption(report: StudyReport, grid: ResultTable) -> str:
    return (
        f"Every merge point on {grid.split} data: score, 0–100, and change in percent against the specialist of the "
        f"task. The number behind a method is the coefficient of {report.tasks[0]}."
    )


def _comparisons(comparisons: pd.DataFrame, label: str) -> TextTable:
    rows = [
        (
            method_label(str(row["method"])),
            points(row["difference"]),
            f"{points(row['low'])} to {points(row['high'])}",
            p_value(row["p"]),
            str(row["verdict"]),
        )
        for row in comparisons.to_dict("records")
    ]
    caption = f"{label[0].upper()}{label[1:]}."
    return TextTable(caption, ("Merge", "Difference", "95 % interval", "p", "Verdict"), tuple(rows))


def _module_kinds(layers: pd.DataFrame, subjects: Mapping[str, Subject]) -> TextTable:
    whole = layers[layers["layer"] == "all"]
    kinds = [kind for kind in (*KINDS, "all") if kind in set(whole["kind"])]
    shares = {(row["variant"], row["kind"]): row["relative_l2"] for row in whole.to_dict("records")}
    rows = [
        (
            subjects[name].label,
            *(significant(100 * share) if (share := shares.get((name, k))) is not None else MISSING for k in kinds),
        )
        for name in variants_in_order(layers, subjects)
    ]
    caption = "‖update‖ / ‖base‖ in percent, by kind of module over the whole model."
    return TextTable(caption, ("Model", *kinds), tuple(rows))


def _cost(cost: pd.DataFrame) -> TextTable:
    rows = [
        (
            str(row["strategy"]),
            count(float(row["training_tokens"])),
            duration(float(row["seconds"])),
            size(float(row["disk_bytes"])),
        )
        for row in cost.to_dict("records")
    ]
    caption = "Training tokens, time, and disk of the checkpoints that each strategy leaves."
    return TextTable(caption, ("Strategy", "Training tokens", "Time", "Disk"), tuple(rows))


def _commands(commands: pd.DataFrame, subjects: Mapping[str, Subject]) -> tuple[tuple[str, str], ...]:
    rows = commands.to_dict("records")
    return tuple(
        (subjects[name].label if (name := str(row["subject"])) in subjects else name, str(row["command"]))
        for row in rows
    )
