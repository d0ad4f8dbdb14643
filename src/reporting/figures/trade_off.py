"""One task's score against the other's: the trade-off made by the mixture and every merge."""

from __future__ import annotations

from matplotlib.axes import Axes

from src.reporting.figures.pictures import Picture
from src.reporting.figures.point_labels import Label, place_labels
from src.reporting.format import coefficient, score
from src.reporting.names import method_label, metric_label
from src.reporting.sentences import mask_seeds_sentence
from src.reporting.study_report import StudyModel, StudyReport
from src.reporting.style import Look, drawing, legend_below, looks_of, new_figure
from src.reporting.tables import Cell, grid_split, task_decimals, task_scores

ANNOTATED_WEIGHTS = (0.1, 0.5, 0.9)
BETTER = "Up and to the right is better."
Pairs = dict[str, tuple[Cell, Cell]]  # model -> its scores on the first two tasks


def trade_off_pictures(report: StudyReport) -> list[Picture]:
    """The whole grid, and the chosen models on test data with their 95% intervals.

    Empty for a study of a single task; with more than two tasks, the first two are drawn.
    """
    if len(report.tasks) < 2:
        return []
    has_merges = any(model.kind == "merge" for model in report.models.values())
    return [*([_grid(report)] if has_merges else []), _test(report)]


def _grid(report: StudyReport) -> Picture:
    split = grid_split(report)
    looks, pairs = looks_of(report.models), _pairs(report, split)
    models = [model for name, model in report.models.items() if name in pairs]
    with drawing():
        figure, axes = new_figure(5.6, 5.0)
        for model in models:
            if model.kind != "merge" or model.name in report.chosen:
                _bars(axes, pairs, model, looks[model.name])
        labels = _markers(axes, [m for m in models if m.kind != "merge"], pairs, looks)
        ratios = [m for m in models if m.kind == "mix" and m.weight is not None]
        if len(ratios) > 1:
            _front(axes, ratios, pairs, looks, "Data mixtures")
        for method in dict.fromkeys(m.method for m in models if m.kind == "merge"):
            labels += _front(axes, [m for m in models if m.method == method and m.kind == "merge"], pairs, looks)
        _name_axes(axes, report)
        legend_below(axes, 4, 0.16)
        place_labels(axes, labels, [_at(pairs, model) for model in models])
    caption = (
        f"Every merge point on {split} data, one curve per method; the small numbers are the coefficient of "
        f"{report.tasks[0]}. Crosses are 95% intervals of base, specialists, mixture and the chosen points. {BETTER}"
    )
    alt = f"{caption} {_spoken(report, split, models, pairs)}"
    return Picture("trade-off-grid", "Trade-off over the whole grid", caption, alt, figure)


def _test(report: StudyReport) -> Picture:
    looks, pairs = looks_of(report.models), _pairs(report, "test")
    models = [m for m in report.models.values() if m.name in pairs and (m.kind != "merge" or m.name in report.chosen)]
    with drawing():
        figure, axes = new_figure(5.6, 5.0)
        for model in models:
            _bars(axes, pairs, model, looks[model.name])
        labels = _markers(axes, models, pairs, looks)
        _name_axes(axes, report)
        place_labels(axes, labels, [_at(pairs, model) for model in models])
    caption = (
        f"Base, specialists, mixture and the chosen merges on test data, with 95% intervals. {BETTER} "
        f"{mask_seeds_sentence(report.scores['test'], report.models)}"
    ).strip()
    alt = f"{caption} {_spoken(report, 'test', models, pairs)}"
    return Picture("trade-off-test", "Trade-off on test data", caption, alt, figure)


def _pairs(report: StudyReport, split: str) -> Pairs:
    (first, second), scores = report.tasks[:2], task_scores(report, split)
    return {
        name: (scores[name, first], scores[name, second])
        for name in report.models
        if (name, first) in scores and (name, second) in scores
    }


def _at(pairs: Pairs, model: StudyModel) -> tuple[float, float]:
    first, second = pairs[model.name]
    return 100 * first.value, 100 * second.value


def _front(
    axes: Axes, merges: list[StudyModel], pairs: Pairs, looks: dict[str, Look], label: str | None = None
) -> list[Label]:
    look, places = looks[merges[0].name], [_at(pairs, model) for model in merges]
    axes.plot(
        [x for x, _ in places],
        [y for _, y in places],
        color=look.color,
        marker=look.marker,
        linestyle=look.line,
        linewidth=1.4,
        markersize=4.5,
        label=label or method_label(str(merges[0].method)),
    )
    return [
        Label(*at, coefficient(model.weight), look.color, size=7.5)
        for model, at in zip(merges, places, strict=True)
        if len(merges) <= 3 or model.weight in ANNOTATED_WEIGHTS
    ]


def _markers(axes: Axes, models: list[StudyModel], pairs: Pairs, looks: dict[str, Look]) -> list[Label]:
    labels = []
    for model in models:
        look, at = looks[model.name], _at(pairs, model)
        axes.plot(*at, color=look.color, marker=look.marker, markersize=look.size, linestyle="none", zorder=5)
        labels.append(Label(*at, model.label, look.color))
    return labels


def _bars(axes: Axes, pairs: Pairs, model: StudyModel, look: Look) -> None:
    across, up = (_arms(cell) for cell in pairs[model.name])
    at = _at(pairs, model)
    axes.errorbar(*at, xerr=across, yerr=up, color=look.color, elinewidth=1.3, alpha=0.5, fmt="none")


def _arms(cell: Cell) -> list[list[float]]:
    return [[100 * max(0.0, cell.value - cell.low)], [100 * max(0.0, cell.high - cell.value)]]


def _name_axes(axes: Axes, report: StudyReport) -> None:
    first, second = report.tasks[:2]
    axes.set_xlabel(f"{first}: {metric_label(report.headline[first])}")
    axes.set_ylabel(f"{second}: {metric_label(report.headline[second])}")
    axes.margins(0.14)


def _spoken(report: StudyReport, split: str, models: list[StudyModel], pairs: Pairs) -> str:
    across, up = (task_decimals(report, split, task) for task in report.tasks[:2])
    said = [
        f"{model.label} {score(first.value, across)} and {score(second.value, up)}"
        for model in models
        for first, second in [pairs[model.name]]
    ]
    return f"Values: {'; '.join(said)}." if said else ""
