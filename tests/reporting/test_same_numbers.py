"""Every number that a report shows twice is the same number, to its last digit.

The study has several mask seeds, fewer metrics than its benchmarks yield, and a specialist that scores 0 in one of
them: the three ways in which the verdict and the tables once had averages of their own.
"""

import re

import pandas as pd
import pytest

from src.reporting.format import average_change, average_points, change, coefficient, score
from src.reporting.page.data import page_data
from src.reporting.view import study_view
from src.reporting.write import render_html, render_markdown, write_report
from tests.reporting.example import CHOSEN, METHODS, study
from tests.reporting.parsed_page import Page, markdown_tables

NUMBER = r"[+−]?\d+(?:\.\d+)?"
LABELS = {"linear": "Linear", "ties": "TIES", "dare": "DARE", "della": "DELLA"}


@pytest.fixture(scope="module")
def report():
    return study(metrics=("pass@1", "pass@1+", "bleu4_paper", "meteor"), zero="meteor")


@pytest.fixture(scope="module")
def view(report):
    return study_view(report)


@pytest.fixture(scope="module")
def tables(view):
    """First screen, cost, choice, secondary comparisons, headline, grid, kinds: label -> texts of a row of the page."""
    parsed = Page(render_html(view)).tables
    return [{" ".join(row[0].replace(" chosen", "").split()): row[1:] for row in table} for table in parsed]


@pytest.fixture(scope="module")
def frames(report, tmp_path_factory):
    paths = write_report(report, tmp_path_factory.mktemp("report"))
    return {name: pd.read_csv(paths[name]) for name in ("headline", "ablation")}


def _averages(frame):
    return {row: float(found) for row, found in frame.groupby("row")["average_change_percent"].first().items()}


def _label(method):
    return f"{LABELS[method]} {CHOSEN[method]}"


def test_csv_html_and_markdown_hold_one_average_per_row(view, tables, frames):
    markdown = markdown_tables(render_markdown(view))
    for place, name in ((4, "headline"), (5, "ablation")):
        averages = _averages(frames[name])
        assert set(tables[place]) == set(averages)
        assert {label: row[-1].strip() for label, row in tables[place].items()} == {
            label: average_change(found) for label, found in averages.items()
        }
        shown = {row[0].replace(" (chosen)", ""): row[-1] for row in markdown[place]}
        assert shown == {label: average_change(found) for label, found in averages.items()}


def test_csv_and_html_hold_one_value_interval_and_change_per_cell(tables, frames):
    for place, name in ((4, "headline"), (5, "ablation")):
        for label, rows in frames[name].groupby("row"):
            for text, (_, cell) in zip(tables[place][str(label)], rows.iterrows(), strict=False):
                interval = f" {score(cell['low'])}–{score(cell['high'])}" if name == "headline" else ""
                assert " ".join(text.split()) == f"{score(cell['value'])}{interval} {change(cell['change_percent'])}"


def test_the_verdict_compares_the_averages_of_the_table(report, view, frames):
    averages = _averages(frames["headline"])
    mix, label, merge, gap = re.search(
        rf"Mixing keeps ({NUMBER})% of .*; the best merge \((.*?)\) keeps ({NUMBER})%. The difference is ({NUMBER}) "
        r"points",
        view.verdict,
    ).groups()
    assert label == _label(report.verdict.method)
    assert mix == f"{100 + averages['Data mixture']:.1f}"
    assert merge == f"{100 + averages[label]:.1f}"
    assert gap == average_points((averages["Data mixture"] - averages[label]) / 100)


def test_sentence_table_and_figure_hold_one_difference_and_interval(report, view, tables, frames):
    averages, alt = _averages(frames["headline"]), view.comparison.alt
    for method in METHODS:
        label = _label(method)
        gap = average_points((averages["Data mixture"] - averages[label]) / 100)
        if method == report.verdict.method:
            low, high = (average_points(end) for end in (report.verdict.difference.low, report.verdict.difference.high))
            assert f"is {gap} points (95% interval {low} to {high} over" in view.verdict
            assert f"{label} {gap} ({low} to {high}): mixture wins" in alt
        else:
            difference, interval, _, words = (text.strip() for text in tables[3][LABELS[method]])
            assert difference == gap
            assert f"{label} {difference} ({interval}): {words}" in alt


def test_the_choice_holds_the_averages_of_the_tables(view, tables, frames):
    for words, label in (("the data mixture", "Data mixture"), ("Linear 0.4", "Linear 0.4")):
        _, _, validation, test, _ = (text.strip() for text in tables[2][words])
        assert test == average_change(_averages(frames["headline"])[label])
        assert validation == average_change(_averages(frames["ablation"])[label])


def test_sweeps_name_the_best_average_of_the_grid(report, view, frames):
    averages = _averages(frames["ablation"])
    for method in METHODS:
        points = {name: averages[model.label] for name, model in report.models.items() if model.method == method}
        best = max(points, key=lambda name: points[name])
        at = (
            f"{LABELS[method]} is best at {coefficient(report.models[best].weight)} with {average_change(points[best])}"
        )
        assert at in view.sweeps[0].alt


def test_sweeps_and_trade_off_hold_the_scores_of_the_tables(view, tables, frames):
    """codegen's headline metric is pass@1+, codesum's BLEU-4: columns 2 and 3 of 4."""
    for picture, place in ((view.trade_off[1], 4), (view.trade_off[0], 5)):
        for label, row in tables[place].items():
            if not label.startswith("Each task"):
                assert f"{label} {row[1].split()[0]} and {row[2].split()[0]}" in picture.alt
    grid = frames["ablation"]
    for picture, metric in ((view.sweeps[1], "pass@1+"), (view.sweeps[2], "bleu4_paper")):
        rows = grid[(grid["metric"] == metric) & (grid["kind"] == "merge")]
        for method in METHODS:
            best = rows[rows["row"].str.startswith(f"{LABELS[method]} ")].sort_values("value").iloc[-1]
            weight = best["row"].split()[-1]
            assert f"{LABELS[method]} is best at {weight} with {score(best['value'])}" in picture.alt


def test_what_is_left_out_and_pooled_is_said_wherever_averages_stand(view):
    left_out = "Left out of the average, because the specialist itself scores 0: METEOR on pocket summaries."
    assert view.verdict.endswith(left_out)
    assert left_out in view.headline.caption
    pooled = "Scores of DARE 0.4 and DELLA 0.5 are means over 3 mask seeds"
    for caption in (view.headline.caption, view.comparison.caption, view.trade_off[1].caption):
        assert pooled in caption
    assert "first mask seed" in view.grid.caption
    assert left_out not in view.grid.caption  # on validation data the specialist scores more than 0


def test_only_the_metrics_of_the_study_are_columns(view, frames):
    assert [column.metric for column in view.headline.columns] == ["pass@1", "pass@1+", "bleu4_paper", "meteor"]
    assert set(frames["ablation"]["metric"]) == {"pass@1", "pass@1+", "bleu4_paper", "meteor"}
    left_out = frames["headline"][frames["headline"]["metric"] == "meteor"]
    assert left_out["change_percent"].isna().all()
    assert frames["headline"]["average_change_percent"].notna().all()


def test_the_first_screen_holds_the_numbers_of_the_headline_table(view, tables):
    """codegen's headline metric is pass@1+, codesum's BLEU-4: columns 2 and 3 of 4."""
    for label, row in tables[0].items():
        codegen, codesum, average = (text.split() for text in row)
        whole = [text.split() for text in tables[4][label]]
        assert [codegen, codesum, average] == [whole[1][:2], whole[2][:2], whole[-1]]
    assert f"{LABELS['linear']} {CHOSEN['linear']}" in view.first.sentence


def test_the_data_of_the_page_are_the_numbers_of_the_tables(report, frames):
    data = page_data(report)
    keys = [column["key"] for column in data["columns"]]
    labels = {model["label"]: model["name"] for model in data["models"]}
    for split, name in (("test", "headline"), ("validation", "ablation")):
        for _, row in frames[name][frames[name]["kind"] != "reference"].iterrows():
            cells = data["scores"][split][labels[row["row"]]]
            value, low, high, _ = cells[keys.index(f"{row['benchmark']} {row['metric']}")]
            assert (value, low, high) == pytest.approx((row["value"], row["low"], row["high"]), abs=1e-6)
            average, low, high, _ = cells[keys.index("average")]
            assert 100 * average == pytest.approx(row["average_change_percent"], abs=1e-4)
            assert low <= average <= high
