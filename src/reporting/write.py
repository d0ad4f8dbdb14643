"""Write a report as one self-contained HTML page and as Markdown, with its tables and figures on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from src.reporting.figures.boxes import box_pictures
from src.reporting.figures.pictures import Picture, inline_svg, write_picture
from src.reporting.figures.weights import correlation_picture, norm_pictures
from src.reporting.page.build import Interactive, interactive_part
from src.reporting.pages import render_page, render_text
from src.reporting.papers import score_table, write_paper_figures, write_tables
from src.reporting.score_view import TextTable
from src.reporting.study_report import StudyReport, variant_models
from src.reporting.tables import ResultTable, ablation_table, headline_table
from src.reporting.view import View, study_view
from src.utils.files import write_text


def write_report(report: StudyReport, directory: Path) -> dict[str, Path]:
    """Write `report.html`, `report.md`, `figures/*.svg|png`, `tables/*.tex|md|csv`, `headline.csv` and `ablation.csv`.

    Args:
        report: What to show.
        directory: Created if missing; files with the same names are replaced.

    Returns:
        `{"html": ..., "markdown": ..., "headline": ..., "ablation": ..., "figures": ...}`.
    """
    view = study_view(report)
    names = {"html": "report.html", "markdown": "report.md", "headline": "headline.csv", "ablation": "ablation.csv"}
    paths = {key: directory / name for key, name in (names | {"figures": "figures"}).items()}
    for picture in view.pictures():
        write_picture(picture, paths["figures"])
    write_tables(paper_tables(view), directory / "tables")
    _write_table(headline_table(report), paths["headline"])
    _write_table(ablation_table(report), paths["ablation"])
    write_text(paths["markdown"], render_markdown(view))
    write_text(paths["html"], render_html(view, interactive_part(report, directory)))
    return paths


def write_for_papers(report: StudyReport, directory: Path) -> None:
    """Write every figure of a report as PDF and SVG, for one column and for two, into `figures/` of its directory."""
    write_paper_figures(study_view(report).pictures(), directory / "figures")


def paper_tables(view: View) -> dict[str, TextTable]:
    """Every table of a report by the name of its files."""
    return {
        "headline": score_table(view.headline, with_intervals=True),
        "grid": score_table(view.grid, with_intervals=False),
        "choice": view.choice,
        "comparisons": view.comparisons,
        "cost": view.cost,
        "kinds": view.kinds,
        "keeps": view.keeps,
    }


def write_weight_figures(
    layers: pd.DataFrame, correlations: pd.DataFrame, directory: Path, specialists: Mapping[str, str]
) -> list[Path]:
    """Write Figures 2, 3 and 4 of a diagnosis as SVG and PNG.

    Args:
        layers: `Diagnosis.layers`.
        correlations: `Diagnosis.correlations`.
        directory: Created if missing.
        specialists: Task to the name of its variant.

    Returns:
        The files, in reading order.
    """
    models = variant_models(layers["variant"], specialists)
    pictures = [*norm_pictures(layers, models), correlation_picture(correlations, models)]
    pictures += box_pictures(layers, correlations, models)
    return [path for picture in pictures if picture for path in write_picture(picture, directory)]


def render_html(view: View, interactive: Interactive | None = None) -> str:
    """The whole page, with no external references; all text of the study is escaped.

    Args:
        view: Contents.
        interactive: Data and scripts; None: the static page, which is also what a browser without scripts shows.
    """
    return render_page("report.html.j2", view=view, svg=_svg, interactive=interactive)


def render_markdown(view: View) -> str:
    """The whole text; numbers match the HTML page, figures are links into `figures/`."""
    return render_text("report.md.j2", view=view)


def _svg(picture: Picture) -> Markup:
    # Already escaped: matplotlib escapes the text that it draws, `inline_svg` the alt text.
    return Markup(inline_svg(picture))


def _write_table(table: ResultTable, path: Path) -> None:
    write_text(path, table.frame().to_csv(index=False))
