"""Scores by merge coefficient, one line per method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from src.reporting.figures.pictures import Picture
from src.reporting.format import average_change, coefficient, score
from src.reporting.names import method_label, metric_label
from src.reporting.study_report import StudyReport
from src.reporting.style import drawing, legend_below, light, method_looks, new_figure
from src.reporting.tables import ResultTable, Row, task_decimals, task_scores
from src.reporting.verdict_sentences import left_out_sentence

Lines = dict[str, list[tuple[float, float]]]


@dataclass(frozen=True)
class _Panel:
    """One figure: the value of a row that its curves show, and the format of that value."""

    key: str
    title: str
    label: str
    caption: str
    value: Callable[[Row], float | None]
    written: Callable[[float], str]


def sweep_pictures(report: StudyReport, grid: ResultTable) -> list[Picture]:
    """The average change, then each task's score; empty if no merge has a coefficient."""
    panels = [_average_panel(report, grid), *(_task_panel(report, grid, task) for task in report.tasks)]
    axis = f"coefficient of {report.tasks[0]}"
    return [picture for panel in panels if (picture := _picture(panel, grid, axis)) is not None]


def _average_panel(report: StudyReport, grid: ResultTable) -> _Panel:
    left_out = left_out_sentence(report.scores[grid.split].left_out)
    return _Panel(
        "sweep-average",
        "Average change by coefficient",
        "average change against the specialists, %",
        f"Values as in the table below, on {grid.split} data. {left_out}".strip(),
        lambda row: row.average,
        average_change,
    )


def _task_panel(report: StudyReport, grid: ResultTable, task: str) -> _Panel:
    scores, decimals = task_scores(report, grid.split), task_decimals(report, grid.split, task)

    def value(row: Row) -> float | None:
        found = scores.get((row.model.name if row.model else report.specialists[task], task))
        return None if found is None else 100 * found.value

    label = f"{task}: {metric_label(report.headline[task])}"
    caption = f"{metric_label(report.headline[task])} of {task} (0–100) on {grid.split} data."
    return _Panel(
        f"sweep-{task}", f"Score on {task} by coefficient", label, caption, value,
        lambda found: score(found / 100, decimals),
    )  # fmt: skip


def _lines(grid: ResultTable, value: Callable[[Row], float | None]) -> Lines:
    lines: Lines = {}
    for row in grid.rows:
        at = value(row)
        if row.model and row.kind == "merge" and row.model.weight is not None and at is not None:
            lines.setdefault(str(row.model.method), []).append((row.model.weight, at))
    return lines


def _picture(panel: _Panel, grid: ResultTable, axis: str) -> Picture | None:
    lines = _lines(grid, panel.value)
    if not lines:
        return None
    looks = method_looks(list(lines))
    with drawing():
        figure, axes = new_figure(5.6, 4.2)
        mixtures = [(row.model.weight, at) for row in grid.rows if (at := panel.value(row)) is not None
                    and row.kind == "mix" and row.model and row.model.weight is not None]  # fmt: skip
        if mixtures:
            axes.plot(
                *zip(*mixtures, strict=True), color=light("purple"), marker="*", markersize=9, label="Data mixture"
            )
        for row in grid.rows:
            at = panel.value(row)
            if at is not None and row.kind == "mix" and not mixtures:
                axes.axhline(at, color=light("purple"), linewidth=1.8, label=row.label, zorder=1.5)
            elif at is not None and row.kind == "reference":
                axes.axhline(
                    at, color=light("muted"), linewidth=1.2, linestyle=(0, (2, 2)), label="Specialist", zorder=1.5
                )
        for method, line in lines.items():
            look = looks[method]
            xs, ys = [x for x, _ in line], [y for _, y in line]
            axes.plot(xs, ys, color=look.color, marker=look.marker, linestyle=look.line, label=method_label(method))
        axes.set_xlabel(f"{axis}, or its proportion in the mixture" if mixtures else axis)
        axes.set_ylabel(panel.label)
        legend_below(axes, 3, 0.17)
    caption = f"{panel.caption} {_lines_caption(bool(mixtures))}"
    alt = f"{panel.title}. {caption} {_spoken(lines, panel.written)}"
    return Picture(panel.key, panel.title, caption, alt, figure)


def _lines_caption(several: bool) -> str:
    if several:
        return "Stars: mixtures at their proportion of the task. Horizontal line: the task's own specialist."
    return "Horizontal lines: the mixture and the task's own specialist."


def _spoken(lines: Lines, written: Callable[[float], str]) -> str:
    best = {method: max(line, key=lambda at: at[1]) for method, line in lines.items()}
    said = [f"{method_label(m)} is best at {coefficient(x)} with {written(y)}" for m, (x, y) in best.items()]
    return "; ".join(said) + "."
