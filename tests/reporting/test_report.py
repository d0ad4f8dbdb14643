"""The finished HTML and Markdown: whole, self-contained, safe, and of one mind."""

import dataclasses
import re

import pandas as pd
import pytest

from src.evaluation.preflight.finding import Finding
from src.reporting.view import study_view
from src.reporting.write import render_html, render_markdown, write_report, write_weight_figures
from tests.reporting.example import SPECIALISTS, study
from tests.reporting.parsed_page import Page, cells, markdown_tables

PICTURES = 11  # figures of the example study


@pytest.fixture(scope="module")
def view():
    return study_view(study())


@pytest.fixture(scope="module")
def html(view):
    return render_html(view)


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


@pytest.fixture(scope="module")
def markdown(view):
    return render_markdown(view)


def test_nothing_is_fetched(html, page):
    assert not re.search(r"https?:|//[a-z]|@import|\burl\((?!#)", html)
    assert not page.of("script")
    assert not page.of("link")
    assert not page.of("img")
    for _, attributes in page.tags:
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith("#")


def test_ids_are_unique_and_every_link_resolves(page):
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert {attributes["href"][1:] for attributes in page.of("a")} <= set(ids)
    assert len(page.of("a")) == 10
    assert len(page.of("section")) == 8


def test_every_figure_has_a_caption_and_alternative_text(page, view):
    assert len(page.of("svg")) == len(view.pictures()) == PICTURES
    for attributes in page.of("svg"):
        assert attributes["role"] == "img"
        assert len(attributes["aria-label"]) > 40
        assert re.search(r"\d", attributes["aria-label"])
    small = len(page.of("caption"))  # tables of the first screen
    assert len(page.of("figure")) == len(page.of("figcaption")) == PICTURES + len(page.tables) - small
    assert small == 2


def test_the_page_names_its_language(page):
    assert page.of("html") == [{"lang": "en"}]


def test_sections_come_in_order(page):
    ids = [attributes["id"] for attributes in page.of("section")]
    assert ids == ["reading", "headline", "trade-off", "grid", "weights", "commands", "environment", "caveats"]


def _numbers(cells: list[str]) -> list[str]:
    return re.findall(r"[+−]?\d+(?:\.\d+)?", " ".join(cells))


def test_markdown_and_html_show_the_same_numbers(page, markdown):
    """First screen, cost, choice, secondary comparisons, headline, grid, kinds: row by row and digit by digit."""
    tables = markdown_tables(markdown)
    assert len(page.tables) == len(tables) == 7
    for ours, theirs in zip(page.tables, tables, strict=True):
        names = [row[0].replace(" chosen", " (chosen)") for row in ours]
        assert [" ".join(name.split()) for name in names] == [row[0] for row in theirs]
        assert [_numbers(row[1:]) for row in ours] == [_numbers(row[1:]) for row in theirs]


def test_markdown_columns_are_even(markdown):
    for block in re.findall(r"(?:^\|.*\n)+", markdown, flags=re.MULTILINE):
        assert len({len(cells(line)) for line in block.splitlines()}) == 1


def test_hand_checkedcells(page, markdown):
    """Mixture, test, pass@1: 0.89 - 0.013 = 0.877; codegen specialist 0.897: -2.2 %."""
    assert re.search(r"\| Data mixture \| 87\.7 \(\d\d\.\d–\d\d\.\d\), −2\.2% \|", markdown)
    row = next(row for row in page.tables[4] if row[0].strip() == "Data mixture")
    assert [row[1].split()[place] for place in (0, 2)] == ["87.7", "−2.2%"]
    assert row[-1].strip() == "−1.66%"  # half of -2.23 (both of codegen) and -1.09 (all four of codesum)


def test_markdown_links_figures_with_alternative_text(markdown, view):
    links = re.findall(r"!\[(.+?)\]\((figures/[^)]+)\)", markdown)
    assert [path for _, path in links] == [f"figures/{picture.key}.svg" for picture in view.pictures()]
    assert all(len(alt) > 40 for alt, _ in links)


def test_commands_are_shown_as_typed(page, markdown):
    command = "python train.py model=pocket strategy=specialist task=codegen"
    assert command in page.text
    assert f"{command}  # Specialist: codegen" in markdown


NASTY = '<script>alert("x")</script> & |co* `_'


def test_names_and_texts_are_escaped():
    plain = study()
    models = {
        name: dataclasses.replace(model, method=NASTY) if model.method == "ties" else model
        for name, model in plain.models.items()
    }
    comparisons = tuple(dataclasses.replace(row, method=NASTY) for row in plain.verdict.comparisons)
    verdict = dataclasses.replace(plain.verdict, comparisons=comparisons, method=NASTY)
    report = study(
        title=NASTY,
        verdict=verdict,
        setup=NASTY,
        caveats=(NASTY,),
        environment={NASTY: NASTY},
        models=models,
        commands=pd.DataFrame([{"subject": NASTY, "command": f"echo {NASTY}"}]),
        cost=plain.cost.assign(strategy=NASTY),
    )
    page = Page(render_html(study_view(report)))
    assert not page.of("script")
    assert "".join(page.text).count('<script>alert("x")</script>') > 10
    markdown = render_markdown(study_view(report))
    outside_code = re.sub(r"```.*?```", "", markdown, flags=re.DOTALL)
    assert "<script>" not in outside_code
    for block in re.findall(r"(?:^\|.*\n)+", markdown, flags=re.MULTILINE):
        assert len({len(cells(line)) for line in block.splitlines()}) == 1


def test_parts_that_a_study_lacks_are_left_out():
    whole = study()
    report = study(setup="", caveats=(), layers=whole.layers.iloc[:0], correlations=whole.correlations.iloc[:0])
    view = study_view(report)
    page, markdown = Page(render_html(view)), render_markdown(view)
    assert [attributes["id"] for attributes in page.of("section")] == [
        *("reading", "headline", "trade-off", "grid", "commands", "environment"),
    ]
    assert "## Weight diagnostics" not in markdown
    assert "## Caveats" not in markdown


def test_report_on_disk(tmp_path):
    paths = write_report(study(), tmp_path / "new" / "report")
    assert paths["html"].read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    markdown = paths["markdown"].read_text(encoding="utf-8")
    for link in re.findall(r"\((figures/[^)]+)\)", markdown):
        assert (paths["markdown"].parent / link).is_file()
    assert len(list(paths["figures"].glob("*.png"))) == PICTURES
    headline = pd.read_csv(paths["headline"])
    row = headline[(headline["row"] == "Data mixture") & (headline["metric"] == "pass@1")].iloc[0]
    assert row["value"] == pytest.approx(0.877)
    assert len(pd.read_csv(paths["ablation"])) == 38 * 6


def test_the_same_study_gives_the_same_page(html, markdown):
    again = study_view(study())
    assert render_html(again) == html
    assert render_markdown(again) == markdown


def test_figures_of_a_diagnosis(tmp_path):
    report = study()
    files = write_weight_figures(report.layers, report.correlations, tmp_path, SPECIALISTS)
    assert [path.name for path in files if path.suffix == ".svg"] == [
        *("figure2-l2.svg", "figure2-relative.svg", "figure3-pearson.svg", "figure4-l2.svg", "figure4-pearson.svg"),
    ]
    assert all(path.is_file() for path in files)


def test_findings_stand_above_the_verdict():
    findings = (
        Finding("search budget", "note", "1 & 36 points", "More points can find luckier ones.", "study.weights"),
        Finding("base", "serious", "<a> and b", "Other bases.", "base=DIR"),
    )
    view = study_view(study(findings=findings))
    html, markdown = render_html(view), render_markdown(view)
    for text in (html, markdown):
        assert 0 < text.index("Other bases.") < text.index("luckier") < text.index(view.verdict[:40])
        assert "To change it: base=DIR." in text
    assert '<b class="serious">serious</b> base: &lt;a&gt; and b.' in html
    assert "- **serious**: base: &lt;a&gt; and b." in markdown
    assert "#preflight" not in render_html(study_view(study()))


def test_the_problems_that_differ_have_a_section_and_a_page():
    view = study_view(study(problems=("pocket_codegen: 3 & 4.",), problems_page="differences.html"))
    html, markdown = render_html(view), render_markdown(view)
    assert Page(html).of("a")[-1]["href"] == "differences.html"
    assert "pocket_codegen: 3 &amp; 4." in html
    assert "pocket\\_codegen: 3 &amp; 4." in markdown
    assert "](differences.html)" in markdown
