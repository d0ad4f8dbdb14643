"""The page of a publication alone: its tables as interactive grids, and what in them does not hold together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from src.reporting.format import MISSING, average_change
from src.reporting.names import benchmark_label, metric_label
from src.reporting.page.build import interactive_page
from src.reporting.pages import render_page, render_text
from src.reporting.published.checks import Flag, flags, grouped, nearest_log, recomputed_average
from src.reporting.published.page_data import published_page_data
from src.reporting.published.tables import SPECIALISTS, Published, PublishedRow
from src.utils.files import write_text


@dataclass(frozen=True)
class ModelSummary:
    """One model: its mixture and its best merge.

    Attributes:
        model: As published.
        mixture: Average change as printed, and from the printed scores.
        merge: Label of the merge with the best printed scores.
        merged: Average change as printed, from the printed scores, and from the logged scores.
        ahead: Sides (`mixture`, `merge`) that are ahead by the printed and by the logged scores.
    """

    model: str
    mixture: tuple[str, str]
    merge: str
    merged: tuple[str, str, str]
    ahead: tuple[str, str]


@dataclass(frozen=True)
class PublishedView:
    """Contents of the page."""

    published: Published
    sentence: str
    summaries: tuple[ModelSummary, ...]
    tables: tuple[tuple[str, tuple[str, ...], tuple[tuple[str, ...], ...]], ...]  # title, headers, rows
    flags: tuple[tuple[tuple[str, str], tuple[Flag, ...]], ...]
    command: str


def write_published(published: Published, directory: Path, command: str) -> Path:
    """Write `report.html` and `report.md` from published data alone.

    Args:
        published: The publication.
        directory: Created if missing.
        command: The command that runs the study, shown on the page.

    Returns:
        The HTML page.
    """
    summaries = tuple(_summaries(published))
    view = PublishedView(
        published, _sentence(summaries), summaries, tuple(_tables(published)), grouped(flags(published)), command
    )
    interactive = interactive_page(published_page_data(published), {})
    write_text(directory / "report.md", render_text("published.md.j2", view=view))
    write_text(directory / "report.html", render_page("published.html.j2", view=view, interactive=interactive))
    return directory / "report.html"


def _summaries(published: Published) -> Iterator[ModelSummary]:
    """Of the first table of every model that has a mixture and merges."""
    seen = set()
    for (_, model), rows in published.tables.items():
        reference = next((row for row in rows if row.method == SPECIALISTS), None)
        mixture = next((row for row in rows if row.method == "mixture"), None)
        merges = [row for row in rows if row.method not in ("base", SPECIALISTS, "mixture")]
        if model in seen or reference is None or mixture is None or not merges:
            continue
        seen.add(model)
        mixed = recomputed_average(mixture, reference)
        printed = {row.label: recomputed_average(row, reference) for row in merges}
        logged = {row.label: recomputed_average(nearest_log(row, published) or row, reference) for row in merges}
        best = max(merges, key=lambda row: printed[row.label])
        yield ModelSummary(
            model,
            (average_change(mixture.average), average_change(mixed)),
            best.label,
            (average_change(best.average), average_change(printed[best.label]), average_change(logged[best.label])),
            (_ahead(mixed, printed), _ahead(mixed, logged)),
        )


def _ahead(mixed: float, merged: dict[str, float]) -> str:
    return "mixture" if mixed > max(merged.values()) else "merge"


def _sentence(summaries: tuple[ModelSummary, ...]) -> str:
    counts = [sum(one.ahead[place] == side for one in summaries) for place in (0, 1) for side in ("mixture", "merge")]
    said = (
        f"As published: the printed scores put the mixture ahead for {counts[0]} of {len(summaries)} models and a "
        f"merge for {counts[1]}"
    )
    if counts[2:] == counts[:2]:
        return f"{said}."
    return f"{said}; the scores in the authors' logs put the mixture ahead for {counts[2]} and a merge for {counts[3]}."


def _tables(published: Published) -> Iterator[tuple[str, tuple[str, ...], tuple[tuple[str, ...], ...]]]:
    for (table, model), rows in (published.tables | published.log_tables).items():
        metrics = list(dict.fromkeys(metric for row in rows for metric in row.scores))
        named = [metric.partition(" ") for metric in metrics]
        headers = ("Model", *(f"{benchmark_label(place)} {metric_label(name)}" for place, _, name in named), "Average")
        yield f"{table}: {model}", headers, tuple(_texts(row, metrics) for row in rows)


def _texts(row: PublishedRow, metrics: list[str]) -> tuple[str, ...]:
    scores = (row.scores.get(metric) for metric in metrics)
    words = (MISSING if score is None else f"{score[0]:.{score[1]}f}" for score in scores)
    return (row.label, *words, average_change(row.average))
