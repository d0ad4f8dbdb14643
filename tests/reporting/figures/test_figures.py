"""The lines and points that are drawn are the numbers of the tables."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from src.reporting.figures.boxes import box_pictures
from src.reporting.figures.comparison import comparison_picture
from src.reporting.figures.sweep import sweep_pictures
from src.reporting.figures.trade_off import trade_off_pictures
from src.reporting.figures.weights import correlation_picture, norm_pictures
from src.reporting.study_report import variant_models
from src.reporting.tables import ablation_table
from tests.reporting.example import METHODS, SPECIALISTS, study


@pytest.fixture(scope="module")
def report():
    return study()


@pytest.fixture(scope="module")
def models(report):
    return report.models


def _lines(picture):
    return {line.get_label(): line for line in picture.figure.axes[0].lines}


def _values(report, model, benchmark, metric, split):
    return 100 * report.scores[split].means[model][benchmark, metric].mean


def test_comparison_draws_difference_and_interval_in_points(report):
    picture = comparison_picture(report.verdict, report.models)
    ties = report.verdict.comparisons[0]
    lines = picture.figure.axes[0].lines
    assert list(lines[2].get_xdata()) == pytest.approx([100 * ties.difference.low, 100 * ties.difference.high])
    assert list(lines[3].get_xdata()) == pytest.approx([100 * ties.difference.difference])
    assert f"TIES 0.3 +{100 * ties.difference.difference:.2f} (+{100 * ties.difference.low:.2f} to" in picture.alt
    low, high = picture.figure.axes[0].get_xlim()
    assert low == -high


def test_fronts_run_over_the_weights_on_validation_data(report):
    line = _lines(trade_off_pictures(report)[0])["TIES"]
    for place, weight in enumerate((0.1, 0.2, 0.3)):
        means = report.scores["validation"].means[f"pocket-ties-w{weight}-s0"]
        assert line.get_xdata()[place] == pytest.approx(100 * means["pocket_functions", "pass@1+"].mean)
        assert line.get_ydata()[place] == pytest.approx(100 * means["pocket_summaries", "bleu4_paper"].mean)
    assert len(line.get_xdata()) == 9


def test_weights_and_models_are_written_beside_their_points(report):
    texts = [text.get_text() for text in trade_off_pictures(report)[0].figure.axes[0].texts]
    assert texts[:4] == ["Base", "Specialist: codegen", "Specialist: codesum", "Data mixture"]
    assert texts[4:] == ["0.1", "0.5", "0.9"] * 4


def test_test_points_carry_their_intervals(report):
    picture = trade_off_pictures(report)[1]
    assert len(picture.figure.axes[0].containers) == 8  # base, two specialists, mixture, four merges
    assert f"Data mixture {_values(report, 'pocket-mix', 'pocket_functions', 'pass@1+', 'test'):.1f}" in picture.alt
    assert "TIES 0.3" in picture.alt
    assert "TIES 0.1" not in picture.alt


def test_one_task_has_no_trade_off(report):
    assert trade_off_pictures(study(tasks=("codegen",))) == []


def test_sweeps_hold_averages_and_task_scores(report):
    grid = ablation_table(report)
    average, codegen, _ = sweep_pictures(report, grid)
    expected = [row.average for row in grid.rows if row.model and row.model.method == "dare"]
    assert list(_lines(average)["DARE"].get_ydata()) == pytest.approx(expected)
    assert list(_lines(average)["DARE"].get_xdata()) == pytest.approx([w / 10 for w in range(1, 10)])
    assert _lines(average)["Specialist"].get_ydata()[0] == 0
    assert _lines(codegen)["Data mixture"].get_ydata()[0] == pytest.approx(
        _values(report, "pocket-mix", "pocket_functions", "pass@1+", "validation")
    )
    assert "Linear is best at 0.7 with −" in average.alt


def test_no_sweep_without_coefficients(report):
    without = {name: dataclasses.replace(model, weight=None) for name, model in report.models.items()}
    labeled = study(models=without)
    assert sweep_pictures(labeled, ablation_table(labeled)) == []


def test_norms_by_layer(report, models):
    mean, relative = norm_pictures(report.layers, models)
    rows = report.layers
    rows = rows[(rows.variant == "pocket-mix") & (rows.kind == "all") & (rows.layer != "all")]
    assert list(_lines(mean)["Data mixture"].get_ydata()) == pytest.approx(list(rows.l2_mean))
    assert list(_lines(relative)["Data mixture"].get_ydata()) == pytest.approx(list(100 * rows.relative_l2))
    ticks = [tick.get_text() for tick in mean.figure.axes[0].get_xticklabels()]
    assert ticks == ["emb", "0", "1", "2", "3", "norm"]


def test_ticks_of_deep_models_are_thinned():
    names = ["embed_tokens", *(f"layers.{number}" for number in range(28)), "norm", "lm_head"]
    layers = pd.DataFrame(
        [{"variant": "a", "layer": n, "kind": "all", "l2_mean": 1.0, "relative_l2": 0.1} for n in names]
    )
    picture = norm_pictures(layers, variant_models(["a"], {}))[0]
    ticks = [tick.get_text() for tick in picture.figure.axes[0].get_xticklabels()]
    assert ticks == ["emb", "0", "3", "6", "9", "12", "15", "18", "21", "24", "27", "norm", "head"]


def test_correlation_is_of_the_specialists_only(report, models):
    picture = correlation_picture(report.correlations, models)
    rows = report.correlations
    rows = rows[
        (rows["first"] == SPECIALISTS["codegen"]) & (rows["second"] == SPECIALISTS["codesum"]) & (rows.layer != "all")
    ]
    lines = _lines(picture)
    assert list(lines["all updates"].get_ydata()) == pytest.approx(list(rows.pearson))
    assert list(lines["large updates only (30% rule)"].get_ydata()) == pytest.approx(list(rows.pearson_thresholded))
    assert "codegen and codesum: all updates" in picture.alt


def test_three_specialists_have_three_pairs(report):
    rows = report.correlations[report.correlations["second"] != "pocket-linear-w0.4-s0"]
    three = variant_models([*SPECIALISTS.values(), "pocket-mix"], {**SPECIALISTS, "bugfix": "pocket-mix"})
    labels = [line.get_label() for line in correlation_picture(rows, three).figure.axes[0].lines[:6:2]]
    assert labels == [
        f"{pair}: all updates" for pair in ("codegen and codesum", "codegen and bugfix", "codesum and bugfix")
    ]


def test_one_specialist_has_no_correlation(report):
    assert correlation_picture(report.correlations, variant_models(["pocket-mix"], {})) is None


def test_boxes_show_the_median_over_layers(report, models):
    norms, alike = box_pictures(report.layers, report.correlations, models)
    rows = report.layers
    rows = rows[(rows.variant == SPECIALISTS["codegen"]) & (rows.kind == "all") & (rows.layer != "all")]
    axes = norms.figure.axes[0]
    assert axes.get_yticklabels()[0].get_text() == "Specialist: codegen"
    medians = [line for line in axes.lines if line.get_linewidth() == 2.6]
    assert medians[0].get_xdata()[0] == pytest.approx(100 * np.median(rows.relative_l2))
    assert len(medians) == 3 + len(METHODS)
    assert len(alike.figure.axes[0].get_yticklabels()) == 2


def test_undefined_correlations_draw_no_box(report, models):
    undefined = report.correlations.assign(pearson=float("nan"), pearson_thresholded=float("nan"))
    assert [picture.key for picture in box_pictures(report.layers, undefined, models)] == ["figure4-l2"]
