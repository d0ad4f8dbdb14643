"""Tables and figures for papers."""

import shutil
import subprocess

import pandas as pd
import pytest

from src.reporting.papers import (
    WIDTHS,
    escape_latex,
    latex_table,
    markdown_table,
    score_table,
    write_paper_figures,
    write_tables,
)
from src.reporting.score_view import TextTable
from src.reporting.view import study_view
from src.reporting.write import paper_tables
from tests.reporting.example import study
from tests.reporting.parsed_page import markdown_tables

TABLE = TextTable("5% of a_b", ("Model", "pass@1+", "Average"), (("Base", "37.3 (30.0–45.3)", "−45.29%"),))


def test_latex_by_hand():
    text = latex_table("Main results", TABLE)
    assert r"\caption{5\% of a\_b}" in text
    assert r"\label{tab:main-results}" in text
    assert "\\begin{tabular}{lrr}\n\\toprule\nModel & pass@1+ & Average \\\\\n\\midrule\n" in text
    assert "Base & 37.3 (30.0--45.3) & $-$45.29\\% \\\\\n\\bottomrule" in text


def test_every_special_character_is_escaped():
    assert escape_latex("\\&%$#_{}~^<>|") == (
        r"\textbackslash{}\&\%\$\#\_\{\}\textasciitilde{}\textasciicircum{}\textless{}\textgreater{}\textbar{}"
    )


def test_markdown_and_csv_hold_the_same_cells(tmp_path):
    write_tables({"main": TABLE, "empty": TextTable("", ("a",), ())}, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["main.csv", "main.md", "main.tex"]
    [[row]] = markdown_tables(markdown_table(TABLE))
    assert row == list(TABLE.rows[0])
    frame = pd.read_csv(tmp_path / "main.csv")
    assert list(frame.columns) == list(TABLE.headers)
    assert list(frame.iloc[0]) == list(TABLE.rows[0])


@pytest.mark.slow
def test_a_document_with_two_tables_and_a_figure_compiles(tmp_path):
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex; Debian: texlive-latex-base texlive-latex-recommended")
    view = study_view(study())
    write_tables(paper_tables(view), tmp_path)
    write_paper_figures(view.pictures()[:1], tmp_path)
    key = view.pictures()[0].key
    (tmp_path / "paper.tex").write_text(
        "\\documentclass[twocolumn]{article}\n\\usepackage{booktabs,graphicx}\n\\usepackage[utf8]{inputenc}\n"
        f"\\begin{{document}}\n\\input{{headline}}\n\\input{{cost}}\n\\includegraphics{{{key}-one}}\n\\end{{document}}\n"
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "paper.pdf").stat().st_size > 10_000


@pytest.mark.slow
def test_figures_have_the_widths_of_columns(tmp_path):
    view = study_view(study())
    write_paper_figures(view.pictures()[:2], tmp_path)
    assert len(list(tmp_path.glob("*.pdf"))) == len(list(tmp_path.glob("*.svg"))) == 4
    for columns, inches in WIDTHS.items():
        svg = (tmp_path / f"{view.pictures()[0].key}-{columns}.svg").read_text(encoding="utf-8")
        assert f'width="{72 * inches:g}pt"' in svg


@pytest.mark.slow
def test_intervals_stand_where_they_are_wanted():
    view = study_view(study())
    headline = next(row for row in score_table(view.headline, True).rows if row[0] == "Data mixture")
    assert headline[1].startswith("87.7 (")
    assert "(" not in score_table(view.grid, False).rows[1][1]
