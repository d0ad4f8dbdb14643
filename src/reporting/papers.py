"""Tables and figures for papers: LaTeX (booktabs), Markdown and CSV; PDF and SVG for one column and for two."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.text import Text

from src.reporting.figures.pictures import Picture
from src.reporting.pages import escape_markdown
from src.reporting.score_view import ScoreView, TextTable
from src.reporting.style import drawing
from src.utils.files import atomic_open, write_text

WIDTHS = {"one": 3.3, "two": 6.8}  # inches: a column and the text width of ACM's and IEEE's two-column forms
LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "−": "$-$", "–": "--", "‖": r"$\|$", "\n": " ",
}  # fmt: skip


def score_table(view: ScoreView, with_intervals: bool) -> TextTable:
    """A table of scores with one text per cell: the value, and its interval if wanted."""
    headers = ("Model", *(f"{column.benchmark_label} {column.label}" for column in view.columns), "Average")
    rows = []
    for row in view.rows:
        cells = (
            f"{cell.value} ({cell.interval})" if with_intervals and cell.interval else cell.value for cell in row.cells
        )
        rows.append((row.label, *cells, row.average))
    return TextTable(view.caption, headers, tuple(rows))


def write_tables(tables: Mapping[str, TextTable], directory: Path) -> None:
    """Write `<name>.tex`, `<name>.md` and `<name>.csv` of every table that has rows."""
    for name, table in tables.items():
        if table.rows:
            write_text(directory / f"{name}.tex", latex_table(name, table))
            write_text(directory / f"{name}.md", markdown_table(table))
            frame = pd.DataFrame(list(table.rows), columns=list(table.headers))
            write_text(directory / f"{name}.csv", frame.to_csv(index=False))


def latex_table(name: str, table: TextTable) -> str:
    """A floating table with booktabs' rules, as wide as the text; it needs `booktabs` and `graphicx`."""
    lines = [
        r"\begin{table*}",
        rf"\caption{{{escape_latex(table.caption)}}}",
        rf"\label{{tab:{re.sub('[^a-z0-9]+', '-', name.lower())}}}",
        r"\centering",
        r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * (len(table.headers) - 1)}}}",
        r"\toprule",
        _latex_row(table.headers),
        r"\midrule",
        *(_latex_row(row) for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def escape_latex(text: str) -> str:
    r"""Text that LaTeX prints as it is.

    Example:
        >>> escape_latex("a_b 5%")
        'a\\_b 5\\%'
    """
    return "".join(LATEX.get(char, char) for char in text)


def markdown_table(table: TextTable) -> str:
    """A pipe table with its caption."""
    lines = [table.headers, (":--", *["--:"] * (len(table.headers) - 1)), *table.rows]
    shown = [
        f"| {' | '.join(map(escape_markdown, line) if place != 1 else line)} |" for place, line in enumerate(lines)
    ]
    return "\n".join([*shown, "", escape_markdown(table.caption), ""])


def write_paper_figures(pictures: Sequence[Picture], directory: Path) -> None:
    """Write `<key>-one.pdf|svg` and `<key>-two.pdf|svg`: each picture for one column and for two."""
    for picture in pictures:
        for columns, width in WIDTHS.items():
            _write_figure(picture, directory / f"{picture.key}-{columns}", width)


def _write_figure(picture: Picture, path: Path, width: float) -> None:
    figure: Figure = pickle.loads(pickle.dumps(picture.figure))
    across, up = figure.get_size_inches()
    # Shapes shrink faster than letters: at half the width, text of 10 points still has 7.
    scale = min(1.0, (width / across) ** 0.5)
    figure.set_size_inches(width, up * scale)
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_fontsize(float(text.get_fontsize()) * scale)
    with drawing():
        with atomic_open(path.with_suffix(".pdf"), "wb") as file:
            FigureCanvasPdf(figure).print_figure(file, format="pdf", metadata={"CreationDate": None})
        with atomic_open(path.with_suffix(".svg"), "w") as file:
            FigureCanvasSVG(figure).print_figure(file, format="svg", metadata={"Date": None, "Creator": None})


def _latex_row(cells: Sequence[str]) -> str:
    return f"{' & '.join(map(escape_latex, cells))} \\\\"
