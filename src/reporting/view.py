"""A study's report as formatted text, ready for either template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from src.checkpoints.layers import KINDS
from src.evaluation.preflight.finding import by_severity
from src.evaluation.statistics.verdict import StudyVerdict
from src.reporting.figures.boxes import box_pictures
from src.reporting.figures.comparison import comparison_picture
from src.reporting.figures.pictures import Picture
from src.reporting.figures.sweep import sweep_pictures
from src.reporting.figures.trade_off import trade_off_pictures
from src.reporting.figures.weights import correlation_picture, norm_pictures, variants_in_order
from src.reporting.first_screen import FirstScreen, first_screen
from src.reporting.format import MISSING, average_change, average_points, count, duration, p_value, significant, size
from src.reporting.keeps import keeps_table
from src.reporting.names import method_label
from src.reporting.published.beside import BesideTable, beside
from src.reporting.published.checks import Flag, flags, grouped
from src.reporting.score_view import ScoreView, TextTable, score_view
from src.reporting.sentences import (
    clusters_sentence,
    correlations_reading,
    mask_seeds_sentence,
    norms_reading,
)
from src.reporting.study_report import Models, Side, StudyReport
from src.reporting.tables import ResultTable, ablation_table, headline_table
from src.reporting.verdict_sentences import comparison_words, left_out_sentence, verdict_lines

AVERAGE = (
    "The average change is the mean over tasks of the mean change over a task's columns; the verdict compares these "
    "averages."
)


@dataclass(frozen=True)
class View:
    """Contents of the templates, section by section; parts that a study lacks are empty tuples or None."""

    title: str
    first: FirstScreen
    verdict: str
    verdict_notes: tuple[str, ...]
    choice: TextTable
    setup: str
    comparison: Picture
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
    keeps: TextTable
    cost: TextTable
    commands: tuple[tuple[str, str], ...]
    environment: tuple[tuple[str, str], ...]
    caveats: tuple[str, ...]
    findings: tuple[tuple[str, str], ...]
    problems: tuple[str, ...]
    problems_page: str
    beside: tuple[BesideTable, ...] = ()
    flags: tuple[tuple[tuple[str, str], tuple[Flag, ...]], ...] = ()
    published_source: str = ""
    published_notes: tuple[str, ...] = ()

    @property
    def carrier(self) -> Picture:
        """The figure of the first screen."""
        return self.trade_off[0] if self.trade_off else self.comparison

    def pictures(self) -> list[Picture]:
        """Every picture, in reading order."""
        groups = [self.comparison], self.trade_off, self.sweeps, self.norms, [self.correlation], self.boxes
        return [picture for group in groups for picture in group if picture is not None]


def study_view(report: StudyReport) -> View:
    """Tables, figures and sentences of a report."""
    verdict, *notes = verdict_lines(report)
    models, seeds = report.models, mask_seeds_sentence(report.scores["test"], report.models)
    grid = ablation_table(report)
    return View(
        title=report.title,
        first=first_screen(report),
        verdict=verdict,
        verdict_notes=tuple(notes),
        choice=_choice(report.sides),
        setup=report.setup,
        comparison=comparison_picture(report.verdict, models, seeds),
        comparisons=_comparisons(report.verdict),
        headline=score_view(headline_table(report), _headline_caption(report, seeds)),
        trade_off=tuple(trade_off_pictures(report)),
        grid=score_view(grid, _grid_caption(report, grid)),
        sweeps=tuple(sweep_pictures(report, grid)),
        norms=tuple(norm_pictures(report.layers, models)) if len(report.layers) else (),
        norms_reading=norms_reading(report.layers, models),
        correlation=correlation_picture(report.correlations, models),
        correlations_reading=correlations_reading(report.correlations, models),
        boxes=tuple(box_pictures(report.layers, report.correlations, models)),
        kinds=_module_kinds(report.layers, models),
        keeps=keeps_table(report),
        cost=_cost(report.cost),
        commands=_commands(report.commands, models),
        environment=tuple((name, str(value)) for name, value in report.environment.items()),
        caveats=report.caveats,
        findings=tuple((finding.severity, finding.sentence) for finding in by_severity(report.findings)),
        problems=report.problems,
        problems_page=report.problems_page,
        **_published(report),
    )


def _published(report: StudyReport) -> dict[str, Any]:
    """Published tables of the study's model beside ours, and what does not hold in them."""
    if report.published is None:
        return {}
    published, model = report.published
    tables = beside(report, published, model)
    known = [flag for flag in flags(published) if flag.model == model]
    return {
        "beside": tables,
        "flags": grouped(known),
        "published_source": f"{published.title} Source: {published.source}.",
        "published_notes": tuple(published.notes),
    }


def _headline_caption(report: StudyReport, seeds: str) -> str:
    said = [
        "Scores on test data (0–100) with 95% intervals, and the change in percent against the task's specialist.",
        "For each merge method, the point chosen on validation data is shown.",
        AVERAGE,
        left_out_sentence(report.scores["test"].left_out),
        clusters_sentence(report.scores["test"]),
        seeds,
    ]
    return " ".join(sentence for sentence in said if sentence)


def _grid_caption(report: StudyReport, grid: ResultTable) -> str:
    relative = report.scores[grid.split]
    said = [
        f"Every merge point on {grid.split} data: score (0–100) and change in percent against the task's specialist.",
        f"The number after a method is the coefficient of {report.tasks[0]}.",
        AVERAGE if grid.split == "test" else AVERAGE.split(";")[0] + ".",
        left_out_sentence(relative.left_out),
        clusters_sentence(relative),
        mask_seeds_sentence(relative, report.models) or "Merges with random masks use the first mask seed.",
    ]
    return " ".join(sentence for sentence in said if sentence)


def _comparisons(verdict: StudyVerdict) -> TextTable:
    rows = [
        (
            method_label(row.method),
            average_points(row.difference.difference),
            f"{average_points(row.difference.low)} to {average_points(row.difference.high)}",
            p_value(row.p_corrected),
            comparison_words(row),
        )
        for row in verdict.comparisons
    ]
    caption = (
        "Secondary comparisons, which do not decide: average change of the mixture minus that of the other methods' "
        "merges, in points; p is Holm-corrected over them."
    )
    headers = ("Other merges", "Difference", f"{verdict.level:.0%} interval", "p", "Outcome")
    return TextTable(caption, headers, tuple(rows))


def _choice(sides: tuple[Side, ...]) -> TextTable:
    rows = [
        (
            side.chosen,
            f"{side.candidates:,}",
            count(side.answers),
            average_change(100 * side.validation),
            average_change(100 * side.test),
            average_points(side.validation - side.test),
        )
        for side in sides
    ]
    caption = (
        "How the two models were chosen: candidates, answers generated on validation data for that, and the "
        "average change there and on test data; the optimism is the difference of the two, in points."
    )
    headers = ("Chosen", "Candidates", "Answers", "Validation", "Test", "Optimism")
    return TextTable(caption, headers, tuple(rows))


def _module_kinds(layers: pd.DataFrame, models: Models) -> TextTable:
    whole = layers[layers["layer"] == "all"]
    kinds = [kind for kind in (*KINDS, "all") if kind in set(whole["kind"])]
    shares = {(row["variant"], row["kind"]): row["relative_l2"] for row in whole.to_dict("records")}
    rows = [
        (
            models[name].label,
            *(significant(100 * share) if (share := shares.get((name, k))) is not None else MISSING for k in kinds),
        )
        for name in variants_in_order(layers, models)
    ]
    caption = "‖update‖ / ‖base‖ in percent, over the whole model by kind of module."
    return TextTable(caption, ("Model", *kinds), tuple(rows))


def _cost(cost: pd.DataFrame) -> TextTable:
    rows = [
        (
            str(row["strategy"]),
            count(float(row["training_tokens"])),
            count(float(row["training_steps"])),
            count(float(row["answers"])),
            count(float(row["loss_passes"])),
            duration(float(row["device_seconds"])),
            size(float(row["disk_bytes"])),
        )
        for row in cost.to_dict("records")
    ]
    caption = (
        "What each strategy takes beyond the base, for all training seeds: training, answers generated on validation "
        "data and models scored by loss to choose its model, the device time of all this (times the number of "
        "devices), and disk space of its checkpoints. Merging includes its specialists."
    )
    headers = ("Strategy", "Training tokens", "Steps", "Answers", "Losses", "Device time", "Disk")
    return TextTable(caption, headers, tuple(rows))


def _commands(commands: pd.DataFrame, models: Models) -> tuple[tuple[str, str], ...]:
    rows = commands.to_dict("records")
    return tuple(
        (models[name].label if (name := str(row["subject"])) in models else name, str(row["command"])) for row in rows
    )
