"""Oracles: hand-worked changes and averages, and the printed tables of the reference study where they hold together."""

from pathlib import Path

import pandas as pd
import pytest

from src.evaluation.statistics.averages import RelativeScores
from src.evaluation.statistics.scores import Score
from src.evaluation.statistics.verdict import decide
from src.reporting.study_report import StudyModel, models_in_order
from src.reporting.tables import ablation_table, grid_split, headline_table, task_decimals, task_scores
from tests.reporting.example import study

PAPER = Path(__file__).resolve().parents[2] / ".." / "shared" / "paper" / "results.csv"
METRICS = {
    "codegen": [("humaneval", "pass@1"), ("humaneval", "pass@1+"), ("mbpp", "pass@1"), ("mbpp", "pass@1+")],
    "codesum": [("codexglue", metric) for metric in ("bleu4", "chrf++", "rouge_l", "meteor")],
}


def _scores(gen, summing, half=0.1):
    """Two items per benchmark, `half` below and above the mean: the 95% interval of that mean is the two items."""
    return [
        Score(benchmark, item, metric, value + arm)
        for benchmark, metric, value in (("b", "pass@1", gen), ("c", "bleu4_paper", summing))
        for item, arm in (("low", -half), ("high", half))
    ]


def _small(split="test", **runs):
    """Specialists 0.8 and 0.5; the mixture 0.6 and 0.55: -25 % and +10 %, mean -7.5 %."""
    scores = {
        "a": [_scores(0.8, 0.1)],
        "b": [_scores(0.0, 0.5)],
        "mix": [_scores(0.6, 0.55)],
        "m3": [_scores(0.4, 0.5)],
        **runs,
    }
    models = [
        StudyModel("a", "specialist", task="gen"),
        StudyModel("b", "specialist", task="sum"),
        StudyModel("mix", "mix"),
        StudyModel("m3", "merge", method="ties", weight=0.3),
        StudyModel("m5", "merge", method="ties", weight=0.5),
    ]
    found = RelativeScores(
        {name: [runs] for name, runs in scores.items()}, {"gen": "a", "sum": "b"}, {"b": "gen", "c": "sum"}
    )
    return study(
        tasks=("gen", "sum"),
        models=models_in_order(models),
        verdict=decide(found, "mix", {"ties": "m3"}, resamples=50),
        headline={"gen": "pass@1", "sum": "bleu4_paper"},
        scores={"test": found},
        chosen=("m3",),
    )


def _of(table, label):
    return next(row for row in table.rows if row.label == label)


def test_hand_worked_changes_and_average():
    row = _of(headline_table(_small()), "Data mixture")
    assert [cell.value for cell in row.cells] == [0.6, 0.55]
    assert [cell.change for cell in row.cells] == pytest.approx([-25.0, 10.0])
    assert row.average == pytest.approx(-7.5)
    assert (row.cells[0].low, row.cells[0].high) == pytest.approx((0.5, 0.7))


def test_the_reference_row_joins_each_tasks_own_specialist():
    row = _of(headline_table(_small()), "Each task's own specialist")
    assert [cell.value for cell in row.cells] == [0.8, 0.5]
    assert [cell.change for cell in row.cells] == [0.0, 0.0]
    assert row.average == 0.0


def test_rows_of_table_3():
    labels = [row.label for row in headline_table(study()).rows]
    assert labels == [
        *("Base", "Specialist: codegen", "Specialist: codesum", "Each task's own specialist", "Data mixture"),
        *("Linear 0.4", "TIES 0.3", "DARE 0.4", "DELLA 0.5"),
    ]


def test_rows_of_the_ablation_grid():
    table = ablation_table(study())
    assert table.split == "validation"
    assert [row.label for row in table.rows[:3]] == ["Each task's own specialist", "Data mixture", "Linear 0.1"]
    assert len(table.rows) == 38
    assert [row.label for row in table.rows if row.is_chosen] == ["Linear 0.4", "TIES 0.3", "DARE 0.4", "DELLA 0.5"]


def test_a_grid_that_was_scored_on_test_data_is_shown_from_there():
    assert grid_split(_small()) == "test"
    assert [row.label for row in ablation_table(_small()).rows][-1] == "TIES 0.3"
    assert grid_split(study()) == "validation"


def test_a_merge_that_was_not_chosen_stays_out_of_the_headline():
    report = _small(m5=[_scores(0.9, 0.5)])
    assert "TIES 0.5" not in [row.label for row in headline_table(report).rows]
    assert "TIES 0.5" in [row.label for row in ablation_table(report).rows]


def test_a_metric_in_which_the_specialist_scores_nothing_leaves_the_others_in_the_average():
    """Fault 3: the column of averages was all dashes. By hand: -2.23 % in pass@1 alone, -1.09 % in codesum."""
    report = study(zero="pass@1+")
    row = _of(headline_table(report), "Data mixture")
    assert row.cells[1].change is None
    assert row.cells[1].value == pytest.approx(0.8414)
    assert row.average == pytest.approx(50 * (0.877 / 0.897 - 1) + 100 * _codesum() / 2)
    assert row.average == pytest.approx(100 * report.scores["test"].averages["pocket-mix"].mean)
    assert _of(headline_table(report), "Each task's own specialist").average == 0


def _codesum():
    """Mean change of the mixture (skill 0.92) against the specialist (0.93): 4 % less per metric, 0.013 off on test."""
    pairs = [[round(skill * (1 - 0.04 * place) - 0.013, 4) for skill in (0.92, 0.93)] for place in range(4)]
    return sum(mix / own - 1 for mix, own in pairs) / 4


def test_no_average_where_nothing_can_be_compared():
    row = _of(headline_table(study(metrics=("meteor",), zero="meteor")), "Data mixture")
    assert (row.average, [cell.change for cell in row.cells]) == (None, [None])


def test_mask_seeds_are_pooled_in_value_and_interval():
    """Seed 1 scores 0.7 with items 0.6 and 0.8; both seeds together 0.65, items 0.55 and 0.75."""
    cell = _of(headline_table(_small(m3=[_scores(0.6, 0.5), _scores(0.7, 0.5)])), "TIES 0.3").cells[0]
    assert (cell.value, cell.low, cell.high) == pytest.approx((0.65, 0.55, 0.75))


def test_the_columns_are_the_metrics_of_the_study():
    table = headline_table(study(metrics=("pass@1+", "meteor", "absent")))
    assert [column.metric for column in table.columns] == ["pass@1+", "meteor"]


def test_small_scores_get_two_decimals_in_columns_and_task_scores():
    report = _small(**{name: [_scores(0.06, 0.05, half=0.01)] for name in ("a", "b", "mix", "m3")})
    assert [column.decimals for column in headline_table(report).columns] == [2, 2]
    assert task_decimals(report, "test", "gen") == 2
    assert [column.decimals for column in headline_table(_small()).columns] == [1, 1]
    assert task_decimals(_small(), "test", "gen") == 1


def test_task_score_joins_benchmarks():
    """0.8 and 0.4 with half-widths 0.1 and 0.1: mean 0.6, half-width sqrt(0.02) / 2."""
    more = [Score("other", item, "pass@1", value) for item, value in (("low", 0.3), ("high", 0.5))]
    scores = {name: [[*_scores(0.8, 0.5), *more]] for name in ("a", "b", "mix", "m3")}
    found = RelativeScores(
        {name: [runs] for name, runs in scores.items()},
        {"gen": "a", "sum": "b"},
        {"b": "gen", "other": "gen", "c": "sum"},
    )
    cell = task_scores(study(**{**vars(_small()), "scores": {"test": found}}), "test")["a", "gen"]
    assert cell.value == pytest.approx(0.6)
    assert cell.low == pytest.approx(0.6 - 0.02**0.5 / 2)
    assert cell.high == pytest.approx(0.6 + 0.02**0.5 / 2)


def test_frame_is_tidy():
    frame = headline_table(_small()).frame()
    mixture = frame[frame["row"] == "Data mixture"]
    assert list(mixture["value"]) == [0.6, 0.55]
    assert list(mixture["change_percent"]) == pytest.approx([-25, 10])
    assert list(mixture["average_change_percent"]) == pytest.approx([-7.5, -7.5])


def _paper(table: int, model: str):
    """A StudyReport of the reference study's printed values."""
    printed = pd.read_csv(PAPER)
    printed = printed[(printed.table == table) & (printed.model == model)]
    models, scores = [], {}
    for line in printed.to_dict("records"):
        items = [
            Score(benchmark, "all", metric, line[_column(benchmark, metric)])
            for columns in METRICS.values() for benchmark, metric in columns
        ]  # fmt: skip
        for model in _models(line["method"], line["weight_codegen"]):
            models.append(model)
            scores[model.name] = [items]
    specialists = {task: f"{task} specialist" for task in METRICS}
    found = RelativeScores(
        {name: [runs] for name, runs in scores.items()},
        specialists,
        {"humaneval": "codegen", "mbpp": "codegen", "codexglue": "codesum"},
    )
    return study(models=models_in_order(models), scores={"test": found}, chosen=()), printed


def _models(method: str, weight: object) -> list[StudyModel]:
    """The models of a printed row; that of the specialists joins each task's own."""
    if method == "SFT-CodeGen/Sum":
        return [StudyModel(f"{task} specialist", "specialist", task=task) for task in METRICS]
    kind = {"Data-Mixture SFT": "mix", "Base Model": "base"}.get(method, "merge")
    return [StudyModel(f"{method} {weight}", kind, method=method if kind == "merge" else None)]


def _column(benchmark: str, metric: str) -> str:
    return {"pass@1": benchmark, "pass@1+": f"{benchmark}_plus", "chrf++": "chrfpp"}.get(metric, metric)


@pytest.mark.skipif(not PAPER.is_file(), reason="the reference study's tables are not beside this checkout")
def test_average_of_the_reference_studys_table_5():
    """Table 5 holds together but for one row, whose printed chrF++ (0.317) is not the one its average used (0.3177)."""
    report, printed = _paper(5, "Qwen2.5-Coder 1.5B")
    rows = {row.model.name: row for row in ablation_table(report).rows if row.model}
    merges = printed[printed.weight_codegen.notna()]
    off = {
        name: rows[name].average - average
        for name, average in zip(merges.method + " " + merges.weight_codegen.astype(str), merges.avg_pct, strict=True)
    }
    assert len(off) == 36
    assert [name for name, difference in off.items() if abs(difference) > 0.011] == ["TIES 0.2"]
    assert off["TIES 0.2"] == pytest.approx(100 * (0.317 - 0.3177) / 0.3213 / 8, abs=0.011)


@pytest.mark.skipif(not PAPER.is_file(), reason="the reference study's tables are not beside this checkout")
@pytest.mark.parametrize(
    ("model", "method", "average"),
    [
        ("Qwen2.5-Coder 1.5B", "Data-Mixture SFT", -1.38),
        ("DeepSeek-Coder 7B", "Data-Mixture SFT", -0.23),
        ("DeepSeek-Coder 7B", "Base Model", -16.67),
    ],
)
def test_averages_of_table_3_that_were_misprinted(model, method, average):
    """Averages computed from the printed cells; the study prints -1.26, -0.17 and -17.79."""
    report, _ = _paper(3, model)
    row = next(r for r in headline_table(report).rows if r.model and r.model.name == f"{method} nan")
    assert row.average == pytest.approx(average, abs=0.006)
