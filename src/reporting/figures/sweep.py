"""Scores over the merge weight, one line a method."""

from __future__ import annotations

from collections.abc import Callable

from src.reporting.format import coefficient, signed
from src.reporting.pictures import Picture
from src.reporting.study_report import StudyReport
from src.reporting.style import drawing, legend_below, light, method_looks, new_figure
from src.reporting.subjects import method_label, metric_label
from src.reporting.tables import ResultTable, Row, task_scores

Value = Callable[[Row], float | None]
Lines = dict[str, list[tuple[float, float]]]


def sweep_pictures(report: StudyReport, grid: ResultTable) -> list[Picture]:
    """The average change, then each task's score; nothing where no merge has a numeric weight."""
    axis = f"merge weight (coefficient of {report.tasks[0]})"
    panels: list[tuple[str, str, str, Value]] = [
        ("average", "Average over the weight", "mean change against the specialists, %", lambda row: row.average)
    ]
    for task in report.tasks:
        metric = metric_label(report.headline[task])
        panels.append((task, f"Task {task} over the weight", f"{task}: {metric}", _task_value(report, grid, task)))
    pictures = [_panel(f"sweep-{key}", title, grid, value, label, axis) for key, title, label, value in panels]
    return [picture for picture in pictures if picture is not None]


def _task_value(report: StudyReport, grid: ResultTable, task: str) -> Value:
    scores = task_scores(report, grid.split)

    def value(row: Row) -> float | None:
        found = scores.get((row.subject.name if row.subject else report.specialists[task], task))
        return None if found is None or found.value is None else 100 * found.value

    return value


def _lines(grid: ResultTable, value: Value) -> Lines:
    lines: Lines = {}
    for row in grid.rows:
        at = value(row)
        if row.kind == "merge" and row.subject and isinstance(row.subject.weight, int | float) and at is not None:
            lines.setdefault(row.subject.method, []).append((float(row.subject.weight), at))
    return lines


def _panel(key: str, title: str, grid: ResultTable, value: Value, label: str, axis: str) -> Picture | None:
    lines = _lines(grid, value)
    if not lines:
        return None
    looks = method_looks(list(lines))
    with drawing():
        figure, axes = new_figure(5.6, 4.2)
        for row in grid.rows:
            at = value(row)
            if at is not None and row.kind == "mix":
                axes.axhline(at, color=light("purple"), linewidth=1.8, label=row.label, zorder=1.5)
            elif at is not None and row.kind == "reference":
                axes.axhline(
                    at, color=light("muted"), linewidth=1.2, linestyle=(0, (2, 2)), label="Specialist", zorder=1.5
                )
        for method, line in lines.items():
            look = looks[method]
            xs, ys = [x for x, _ in line], [y for _, y in line]
            axes.plot(xs, ys, color=look.color, marker=look.marker, linestyle=look.line, label=method_label(method))
        axes.set_xlabel(axis)
        axes.set_ylabel(label)
        legend_below(axes, 3, 0.17)
    caption = f"On {grid.split} data; the level lines are the mixture and the task's own specialist."
    return Picture(
        key, title, caption, f"{label} over the {axis}. {caption} {_spoken(lines, key == 'sweep-average')}", figure
    )


def _spoken(lines: Lines, is_change: bool) -> str:
    best = {method: max(line, key=lambda at: at[1]) for method, line in lines.items()}
    said = [
        f"{method_label(method)} is best at {coefficient(x)} with {signed(y) + ' %' if is_change else f'{y:.1f}'}"
        for method, (x, y) in best.items()
    ]
    return "; ".join(said) + "."
