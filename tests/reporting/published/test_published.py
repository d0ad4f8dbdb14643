"""Published results: read, checked against their own cells, and beside ours."""

import json

import pytest

from src.reporting.published.beside import beside
from src.reporting.published.checks import Flag, flags, nearest_log, recomputed_average
from src.reporting.published.page_data import published_page_data
from src.reporting.published.tables import Published, PublishedRow, read_published
from src.reporting.published.write import write_published
from src.reporting.view import study_view
from src.reporting.write import render_html, render_markdown
from src.utils.errors import UserError
from tests.reporting.example import study
from tests.reporting.parsed_page import Page

PASS, BLEU = "pocket_functions pass@1", "pocket_summaries bleu4_paper"


@pytest.fixture(scope="module")
def paper():
    return read_published("paper")


def _row(method, value, bleu, *, at=None, changes=None, average=None):
    scores = {PASS: (value, 3), BLEU: (bleu, 4)}
    return PublishedRow("Table 1", "M", method, at, None, scores, changes or {}, average)


def _published(*rows, logs=(), problems=None):
    return Published(
        "T", "S", {"codegen": ["pocket_functions"], "codesum": ["pocket_summaries"]}, {}, {"pocket": "M"},
        problems or {}, {"codegen": PASS, "codesum": BLEU}, ["a note"], rows, logs,
    )  # fmt: skip


def _kinds(published):
    return [(flag.row, flag.kind) for flag in flags(published)]


def test_changes_are_held_against_what_rounding_allows():
    """0.450 of 0.500 is -10 %, and with both rounded between -10.19 and -9.81; 0.0500 of 0.0500 is within 0.2 %."""
    reference = _row("specialists", 0.5, 0.05)
    for printed, expected in ((-10.0, []), (-10.19, []), (-10.3, ["change"]), (10.0, ["sign"])):
        row = _row("linear", 0.45, 0.05, at=(0.3, 0.7), changes={PASS: printed})
        assert [kind for _, kind in _kinds(_published(reference, row))] == expected


def test_averages_are_recomputed():
    """Changes of -10 % and +20 %: +5 %."""
    reference, row = _row("specialists", 0.5, 0.05), _row("mixture", 0.45, 0.06, average=5.0)
    assert recomputed_average(row, reference) == pytest.approx(5.0)
    assert not _kinds(_published(reference, row))
    wrong = _row("mixture", 0.45, 0.06, average=4.5)
    [flag] = flags(_published(reference, wrong))
    assert flag == Flag("Table 1", "M", "Data mixture", "average", "average: printed +4.50%, from the scores +5.00%")


def test_shares_are_whole_numbers_of_problems():
    """0.734 is neither 120 / 164 = 0.7317 nor 121 / 164 = 0.7378."""
    for value, expected in ((0.732, []), (0.738, []), (0.734, [("Base", "impossible")])):
        assert _kinds(_published(_row("base", value, 0.05), problems={"pocket_functions": 164})) == expected


def test_the_paper_as_transcribed(paper):
    assert len(paper.rows) == 180
    assert sorted({row.table for row in paper.rows}) == [f"Table {number}" for number in (3, 5, 6, 7, 8, 9)]
    assert len({row.table for row in paper.logs}) == 20
    row = next(row for row in paper.tables["Table 6", "Qwen2.5-Coder 7B"] if row.label == "DELLA 0.5")
    assert row.scores["humaneval pass@1"] == (0.902, 3)
    assert row.average == -2.07


def test_what_does_not_hold_in_the_paper(paper):
    """By hand: DeepSeek-7B's DARE row gives -0.20 % printed, -1.38 % with the logged scores; 0.1 equals 0.5."""
    found = flags(paper)
    equal = [(flag.model, flag.row) for flag in found if flag.kind == "equal rows"]
    models = ("Qwen2.5-Coder 1.5B", "Qwen2.5-Coder 7B", "DeepSeek-Coder 1.3B", "DeepSeek-Coder 7B")
    assert equal == [(model, row) for model in models for row in ("Linear 0.1", "TIES 0.1")]
    headline = [flag for flag in found if flag.table == "Table 3" and flag.row == "DARE"]
    assert [flag.kind for flag in headline if flag.kind != "change"] == ["average", "impossible", "log"]
    assert "printed −0.01%, from the scores −0.20%" in headline[-3].words
    assert headline[-1].words.endswith("With the logged scores the average is −1.38%")
    mixed = next(flag for flag in found if flag.row == "Data mixture" and flag.kind == "average")
    assert mixed.words == "average: printed −1.26%, from the scores −1.38%"
    signs = {(flag.table, flag.row) for flag in found if flag.kind == "sign" and "MBPP pass@1+" in flag.words}
    assert {("Table 7", "TIES 0.4"), ("Table 7", "DARE 0.1"), ("Table 8", "DELLA 0.5")} <= signs
    shifted = [flag for flag in found if flag.words.endswith("says DARE 0.1+0.1, density 0.3")]
    assert [(flag.table, flag.row) for flag in shifted] == [("Table 8", "DARE 0.1")]


def test_logs_give_another_answer_for_deepseek_7b(paper, tmp_path, monkeypatch):
    monkeypatch.setattr("src.reporting.page.build.chart_library", lambda: "")
    page = write_published(paper, tmp_path, "python study.py").read_text(encoding="utf-8")
    said = "the mixture ahead for 2 of 5 models and a merge for 3; the scores in the authors&#39; logs put the mixture"
    assert f"{said} ahead for 3 and a merge for 2." in page
    assert "0.9020" not in page
    assert len(Page(page).tables) == 1 + 1 + len(paper.tables) + len(paper.log_tables)
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "−1.38%" in markdown
    assert "Table 8" in markdown


def test_the_grids_of_the_page_hold_the_printed_scores(paper):
    data = published_page_data(paper)
    place = [column["key"] for column in data["columns"]].index("codexglue bleu4_paper")
    assert data["scores"]["Table 5: Qwen2.5-Coder 1.5B"]["Linear 0.2"][place][0] == 0.0451
    assert data["scores"]["linear_qwc15: Qwen2.5-Coder 1.5B"]["Linear 0.2"][place][0] == 0.0471
    assert len(data["scores"]) == len(paper.tables) + len(paper.log_tables)
    json.dumps(data, allow_nan=False)


def test_ours_beside_a_published_table():
    """Mixture on test data: pass@1 0.877 (see test_report); published 0.870 and 0.10 lie inside and outside."""
    rows = (
        _row("mixture", 0.87, 0.1),
        _row("linear", 0.5, 0.5, at=(0.4, 0.6)),
        _row("linear", 0.5, 0.5, at=(0.1, 0.9)),
    )
    [table] = beside(study(), _published(*rows), "M")
    label, (programs, texts) = table.rows[0]
    assert label == "Data mixture"
    assert programs.ours == pytest.approx(0.877)
    assert programs.texts[0] == "87.0"
    assert programs.texts[3] == "+0.7 inside"
    assert texts.is_inside is False
    assert table.rows[1][1][0].ours is not None  # a chosen point
    assert table.rows[2][1][0].texts == ("50.0", "–", "", "")  # a point without scores on test data
    cells = [cell for _, cells in table.rows for cell in cells if cell.is_inside is not None]
    assert table.summary.startswith(f"{sum(cell.is_inside for cell in cells)} of {len(cells)} ")
    assert len(table.frame()) == 6


def test_a_report_shows_published_tables(paper):
    published = _published(_row("mixture", 0.87, 0.1), _row("specialists", 0.9, 0.9))
    view = study_view(study(published=(published, "M")))
    html, markdown = render_html(view), render_markdown(view)
    for text in (html, markdown):
        assert "+0.7 inside" in text
        assert "a note" in text
    assert '<section id="published">' in html


def test_mistakes_are_named(tmp_path):
    with pytest.raises(UserError, match="paper"):
        read_published("papr")
    with pytest.raises(UserError, match=r"tables\.csv"):
        read_published(str(tmp_path))
    (tmp_path / "tables.csv").write_text("table,model,method,humaneval pass@1\n1,M,base,high\n")
    (tmp_path / "about.json").write_text("{}")
    with pytest.raises(UserError, match=r"about\.json.*title"):
        read_published(str(tmp_path))
    about = {"title": "", "source": "", "tasks": {}, "benchmarks": {}, "models": {}, "problems": {}, "headline": {}}
    (tmp_path / "about.json").write_text(json.dumps(about | {"notes": []}))
    with pytest.raises(UserError, match=r"line 2.*high"):
        read_published(str(tmp_path))
    (tmp_path / "tables.csv").write_text("table,model,method,humaneval pass@1\n1,M,base,0.5\n")
    with pytest.raises(UserError, match="humaneval"):
        read_published(str(tmp_path))


def test_the_nearest_log_is_that_of_the_same_coefficients():
    row = _row("linear", 0.5, 0.05, at=(0.3, 0.7))
    logs = (_row("linear", 0.5, 0.05, at=(0.2, 0.8)), _row("linear", 0.5, 0.05, at=(0.3, 0.7)))
    assert nearest_log(row, _published(row, logs=logs)) is logs[1]
    assert nearest_log(row, _published(row)) is None
