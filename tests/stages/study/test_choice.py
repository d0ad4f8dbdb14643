import json

import pandas as pd
import pytest
from hydra.errors import InstantiationException

from src.stages.build import build
from src.stages.job import compose_job
from src.stages.study.choice import ChoiceCost, choice_sentence
from src.stages.study.dry_run import command_lines
from src.stages.study.jobs import StudyJobs
from src.stages.study.run import study
from src.stages.study.steps import static_steps
from src.utils.errors import UserError
from tests.stages.study.test_run import overrides


def planned(*words):
    return StudyJobs(build(compose_job("study", ["study.grids=null", *words]).cfg.study), 0, "runs")


GRID = "study.grids={task_arithmetic: {common: [0.75, 1.0], plane: [0.5, 1]}}"


def test_points_with_a_coefficient_per_task_are_part_of_the_grid():
    jobs = planned(GRID, "study.methods=[linear]", "study.random_methods=[]", "study.weights=[0.5]")
    points = {model.name: model for model in jobs.grid}
    assert list(points)[1:] == [f"task_arithmetic {at}" for at in ("0.75+0.75", "1+1", "0.5+0.5", "0.5+1", "1+0.5")]
    point = points["task_arithmetic 0.5+1"]
    assert dict(point.job.cfg.merge.weights) == {"codegen": 0.5, "codesum": 1.0}
    assert " ".join(point.job.command).startswith(
        "python merge.py merge=task_arithmetic 'merge.weights={codegen: 0.5, codesum: 1}' save_weights=false"
    )
    assert point.label == "Task arithmetic 0.5+1"
    written = jobs.again(point, 0, save_weights=True)
    assert written.job.cfg.merge.weights == point.job.cfg.merge.weights
    assert written.name == point.name


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["study.grids={ties: {lambda: [1]}}"], r"study\.grids\.ties"),
        (["study.choice=best"], r"study\.choice"),
        (["study.generations=0"], r"study\.generations"),
        (
            ["study.methods_without_grid=[ties]", "study.grids={ties: {common: [1]}}", "study.methods=[dare,della]"],
            "ties",
        ),
    ],
)
def test_a_bad_choice_is_refused(words, match):
    with pytest.raises((UserError, InstantiationException), match=match):
        planned(*words)


def test_mixtures_with_several_proportions_are_candidates_of_their_side():
    words = ["study.ratios=[0.25,0.5]", "+study.run_overrides.mix=['mix.ratio=0.4']", "study.seeds=[0,1]"]
    jobs = planned(
        *words, "study.methods=[linear]", "study.random_methods=[]", "study.weights=[0.5]", "study.cells=null"
    )
    assert [(m.name, m.label, m.seed) for m in jobs.candidates] == [
        (f"mixture {ratio}", f"Data mixture {ratio}", seed) for seed in (0, 1) for ratio in (0.25, 0.5)
    ]
    assert [model.job.cfg.mix.ratio for model in jobs.candidates] == [0.25, 0.5] * 2
    assert len({jobs.checkpoint(model) for model in jobs.candidates}) == 4
    tested = [step for step in static_steps(jobs) if step.label.startswith("test: mixture")]
    assert tested == []  # test data are touched for the chosen mixture alone
    lines = command_lines(jobs)
    assert sum("strategy=mix" in line for line in lines) == 4
    assert sum(line.startswith("# the best mixture on validation data") for line in lines) == 1


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["study.ratios=[0.5,0.5]"], r"study\.ratios: expected different proportions"),
        (["study.ratios=[1.0]"], r"study\.ratios"),
        (
            ["study.ratios=[0.5]", "study.cell={ratio: 0.1}"],
            r"study\.ratios=\[0\.5\] and study\.cell both set mix\.ratio",
        ),
    ],
)
def test_proportions_that_cannot_be_compared_are_refused(words, match):
    with pytest.raises((UserError, InstantiationException), match=match):
        planned(*words)


@pytest.mark.slow
def test_validation_chooses_the_mixture_that_is_tested(tmp_path):
    words = [*overrides(tmp_path), "study.ratios=[0.2,0.8]", "study.methods=[linear]", "study.random_methods=[]"]
    directory = study(compose_job("study", [*words, f"output={tmp_path}/study/ratios"]))
    table = pd.read_csv(directory / "choice.csv").set_index("point")
    mixtures = table[table["method"] == "mixture"]
    [chosen] = mixtures.index[mixtures["chosen"]]
    assert mixtures["generated"].idxmax() == chosen
    results = json.loads((directory / "run.json").read_text())["results"]
    assert results["mixture"]["subject"] == chosen
    assert [side["candidates"] for side in results["sides"]] == [2, 3]
    headline = pd.read_csv(directory / "headline.csv")
    assert set(headline.loc[headline["kind"] == "mix", "row"]) == {f"Data {chosen}"}
    assert len(list((tmp_path / "evaluate").glob("*mix*-test"))) == 1
    assert "was chosen among 2 on validation data" in (directory / "report.md").read_text()


def test_a_dry_run_says_what_the_losses_choose():
    lines = command_lines(planned("study.choice=race", "study.generations=7", "study.loss_rows=100"))
    assert sum(line.startswith("python evaluate.py") for line in lines) == 8  # trained models on both splits
    [losses] = [line for line in lines if "benchmark=nll" in line]
    assert "benchmark.limit=100" in losses
    assert any("study.generations=7" in line for line in lines)


def test_the_sentence_says_how_many_points_were_generated():
    cost = ChoiceCost(points=37, generated=15, generation_seconds=30.0, loss_passes=41, loss_seconds=8.0)
    assert "15 points were generated instead of 37" in choice_sentence("race", cost)
    assert "answers of the best 15" in choice_sentence("race", cost)
    assert "losses alone" in choice_sentence("nll", cost)


@pytest.mark.slow  # two whole studies on one set of trained models
def test_a_race_generates_for_few_points_and_chooses_as_its_table_says(tmp_path):
    words = [
        *overrides(tmp_path), "study.choice=race", "study.generations=4", "study.loss_rows=16",
        "study.grids={task_arithmetic: {common: [0.5, 0.75, 1.0]}}",
    ]  # fmt: skip
    directory = study(compose_job("study", [*words, f"output={tmp_path}/study/race"]))
    table = pd.read_csv(directory / "choice.csv")
    assert len(table) == 2 * 2 + 3 + 1
    assert table["generated"].notna().sum() == 4  # one of each method
    assert table["chosen"].sum() == 4
    assert set(table["method"]) == {"linear", "dare", "task_arithmetic", "adaptive"}
    for _, group in table.groupby("method"):
        assert group["generated"].notna().idxmax() == group["predicted"].idxmax()
    cost = json.loads((directory / "run.json").read_text())["results"]["choice"]
    assert (cost["points"], cost["generated"], cost["loss_passes"]) == (8, 4, 12)
    assert "were generated instead of 8" in (directory / "report.md").read_text()
    everything = [word for word in words if word != "study.choice=race"]
    full = study(compose_job("study", [*everything, f"output={tmp_path}/study/full"]))
    generated = pd.read_csv(full / "choice.csv").set_index("point")["generated"]
    assert generated.notna().all()
    own = table.dropna(subset="generated").set_index("point")["generated"]
    assert own.to_dict() == pytest.approx(generated[own.index].to_dict())
