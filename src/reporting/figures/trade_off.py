"""One task's score against the other's: what a mixture and every merge give up for what."""

from __future__ import annotations

from matplotlib.axes import Axes

from src.reporting.format import coefficient, score
from src.reporting.pictures import Picture
from src.reporting.point_labels import Label, place_labels
from src.reporting.study_report import StudyReport
from src.reporting.style import Look, drawing, legend_below, looks_of, new_figure
from src.reporting.subjects import Subject, method_label, metric_label, subjects_of
from src.reporting.tables import Cell, grid_split, task_scores

ANNOTATED_WEIGHTS = (0.1, 0.5, 0.9)
BETTER = "Up and to the right is better."
Pair = tuple[Cell, Cell]


def trade_off_pictures(report: StudyReport) -> list[Picture]:
    """The whole grid, and the chosen models on test data with their 95 % intervals.

    Nothing for a study of a single task; of more than two tasks the first two are drawn.
    """
    if len(report.tasks) < 2:
        return []
    known = list(subjects_of(report.scores, report.specialists).values())
    chosen = set(report.chosen["subject"])
    pictures = [_grid(report, known)] if any(s.kind == "merge" for s in known) else []
    return [*pictures, _test(report, [s for s in known if s.kind != "merge" or s.name in chosen])]


def _grid(report: StudyReport, subjects: list[Subject]) -> Picture:
    split = grid_split(report.scores)
    looks, pairs = looks_of({s.name: s for s in subjects}), _pairs(report, subjects, split)
    with drawing():
        figure, axes = new_figure(5.6, 5.0)
        labels = _markers(axes, [s for s in subjects if s.kind != "merge"], pairs, looks)
        for method in dict.fromkeys(s.method for s in subjects if s.kind == "merge"):
            labels += _front(axes, [s for s in subjects if s.method == method and s.kind == "merge"], pairs, looks)
        _name_axes(axes, report)
        legend_below(axes, 4, 0.16)
        place_labels(axes, labels, [at for pair in pairs.values() if (at := _at(pair))])
    caption = (
        f"Every merge point on {split} data, one front a method; the small numbers are the coefficient of "
        f"{report.tasks[0]}. {BETTER}"
    )
    return Picture(
        "trade-off-grid", "Trade-off over the whole grid", caption, caption + _spoken(subjects, pairs), figure
    )


def _test(report: StudyReport, subjects: list[Subject]) -> Picture:
    looks, pairs = looks_of({s.name: s for s in subjects}), _pairs(report, subjects, "test")
    with drawing():
        figure, axes = new_figure(5.6, 5.0)
        for subject in subjects:
            _bars(axes, pairs[subject.name], looks[subject.name])
        labels = _markers(axes, subjects, pairs, looks)
        _name_axes(axes, report)
        place_labels(axes, labels, [at for pair in pairs.values() if (at := _at(pair))])
    caption = f"Base, specialists, mixture and the chosen merges on test data, with 95 % intervals. {BETTER}"
    return Picture("trade-off-test", "Trade-off on test data", caption, caption + _spoken(subjects, pairs), figure)


def _pairs(report: StudyReport, subjects: list[Subject], split: str) -> dict[str, Pair]:
    (first, second), scores, unknown = report.tasks[:2], task_scores(report, split), Cell(None)
    return {s.name: (scores.get((s.name, first), unknown), scores.get((s.name, second), unknown)) for s in subjects}


def _at(pair: Pair) -> tuple[float, float] | None:
    first, second = pair
    return None if first.value is None or second.value is None else (100 * first.value, 100 * second.value)


def _front(axes: Axes, merges: list[Subject], pairs: dict[str, Pair], looks: dict[str, Look]) -> list[Label]:
    drawn = [(subject, at) for subject in merges if (at := _at(pairs[subject.name]))]
    if not drawn:
        return []
    look = looks[drawn[0][0].name]
    axes.plot(
        [at[0] for _, at in drawn],
        [at[1] for _, at in drawn],
        color=look.color,
        marker=look.marker,
        linestyle=look.line,
        linewidth=1.4,
        markersize=4.5,
        label=method_label(merges[0].method),
    )
    return [
        Label(*at, coefficient(subject.weight), look.color, size=7.5)
        for subject, at in drawn
        if len(drawn) <= 3 or subject.weight in ANNOTATED_WEIGHTS
    ]


def _markers(axes: Axes, subjects: list[Subject], pairs: dict[str, Pair], looks: dict[str, Look]) -> list[Label]:
    labels = []
    for subject in subjects:
        look = looks[subject.name]
        if at := _at(pairs[subject.name]):
            axes.plot(*at, color=look.color, marker=look.marker, markersize=look.size, linestyle="none", zorder=5)
            labels.append(Label(*at, subject.label, look.color))
    return labels


def _bars(axes: Axes, pair: Pair, look: Look) -> None:
    if at := _at(pair):
        across, up = (_arms(cell) for cell in pair)
        axes.errorbar(*at, xerr=across, yerr=up, color=look.color, elinewidth=1.3, alpha=0.5, fmt="none")


def _arms(cell: Cell) -> list[list[float]] | None:
    if cell.value is None or cell.low is None or cell.high is None:
        return None
    return [[100 * max(0.0, cell.value - cell.low)], [100 * max(0.0, cell.high - cell.value)]]


def _name_axes(axes: Axes, report: StudyReport) -> None:
    first, second = report.tasks[:2]
    axes.set_xlabel(f"{first}: {metric_label(report.headline[first])}")
    axes.set_ylabel(f"{second}: {metric_label(report.headline[second])}")
    axes.margins(0.14)


def _spoken(subjects: list[Subject], pairs: dict[str, Pair]) -> str:
    said = [
        f"{subject.label} {score(first.value)} and {score(second.value)}"
        for subject in subjects
        for first, second in [pairs[subject.name]]
        if _at((first, second))
    ]
    return f" Values: {'; '.join(said)}." if said else ""
