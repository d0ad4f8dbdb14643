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


def test_a_dry_run_says_what_the_losses_choose():
    lines = command_lines(planned("study.choice=race", "study.generations=7"))
    assert sum(line.startswith("python evaluate.py") for line in lines) == 8  # trained models on both splits
    [losses] = [line for line in lines if "benchmark=nll" in line]
    assert "benchmark.limit=128" in losses
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
