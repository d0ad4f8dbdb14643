"""Put a report on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from src.reporting.figures.boxes import box_pictures
from src.reporting.figures.weights import correlation_picture, norm_pictures
from src.reporting.html import render_html
from src.reporting.markdown import render_markdown
from src.reporting.pictures import write_picture
from src.reporting.study_report import StudyReport
from src.reporting.subjects import variant_subjects
from src.reporting.tables import ResultTable, ablation_table, headline_table
from src.reporting.view import study_view
from src.utils.files import write_text


def write_report(report: StudyReport, directory: Path) -> dict[str, Path]:
    """Write `report.html`, `report.md`, `figures/*.svg|png`, `headline.csv` and `ablation.csv`.

    Args:
        report: What to show.
        directory: Made if missing; files of the same names are replaced.

    Returns:
        `{"html": ..., "markdown": ..., "headline": ..., "ablation": ..., "figures": ...}`.
    """
    view = study_view(report)
    names = {"html": "report.html", "markdown": "report.md", "headline": "headline.csv", "ablation": "ablation.csv"}
    paths = {key: directory / name for key, name in (names | {"figures": "figures"}).items()}
    for picture in view.pictures():
        write_picture(picture, paths["figures"])
    _write_table(headline_table(report), paths["headline"])
    _write_table(ablation_table(report), paths["ablation"])
    write_text(paths["markdown"], render_markdown(view))
    write_text(paths["html"], render_html(view))
    return paths


def write_weight_figures(
    layers: pd.DataFrame, correlations: pd.DataFrame, directory: Path, specialists: Mapping[str, str]
) -> list[Path]:
    """Write Figures 2, 3 and 4 of a diagnosis as SVG and PNG.

    Args:
        layers: `Diagnosis.layers`.
        correlations: `Diagnosis.correlations`.
        directory: Made if missing.
        specialists: Task to the name of its variant.

    Returns:
        The files, in reading order.
    """
    subjects = variant_subjects(layers["variant"], specialists)
    pictures = [*norm_pictures(layers, subjects), correlation_picture(correlations, subjects)]
    pictures += box_pictures(layers, correlations, subjects)
    return [path for picture in pictures if picture for path in write_picture(picture, directory)]


def _write_table(table: ResultTable, path: Path) -> None:
    write_text(path, table.frame().to_csv(index=False))
