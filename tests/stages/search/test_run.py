import json
import shutil

import pandas as pd
import pytest

from src.merging.registry import recipe_from
from src.stages.evaluate.run import evaluate
from src.stages.job import compose_job
from src.stages.merge.run import merge
from src.stages.merge.verify import verify
from src.stages.search import run as stage
from src.stages.search.run import merge_or_search_all, search
from src.utils.jsonl import read_jsonl
from tests.stages.evaluate.test_run import FEW

LINEAR = ["merge=linear", "search.space={merge.weight: {choices: [0.5, 1.0, 0.0]}}"]


def searching(world, place, *overrides, sampler="random"):
    return compose_job("merge", [f"search={sampler}", *overrides, f"output_root={world}", f"output={place}"])


def few():
    return f"search.evaluate_overrides={FEW}"


def table(directory, name="trials"):
    return pd.read_csv(directory / f"{name}.csv")


def validation_loss(world, specialist, task):
    [loss] = [
        row[f"val/{task}/loss"]
        for row in read_jsonl(world / "train" / f"pocket-specialist-{specialist}-s0" / "metrics.jsonl")
        if f"val/{task}/loss" in row
    ]
    return loss


@pytest.fixture(scope="module")
def found(world, tmp_path_factory):
    """A search over the mean and the two specialists, by the mean loss."""
    place = tmp_path_factory.mktemp("search") / "found"
    return search(searching(world, place, *LINEAR, "search.budget=9"))


def test_the_losses_of_a_point_are_those_of_training(world, found):
    """A merge with coefficients 1 and 0 is a specialist, whose losses its own training has recorded."""
    trials = table(found).set_index("merge.weight")
    for weight, specialist in ((1.0, "codegen"), (0.0, "codesum")):
        row = trials.loc[[weight]].iloc[0]
        losses = [validation_loss(world, specialist, task) for task in ("codegen", "codesum")]
        assert [row["loss.codegen"], row["loss.codesum"]] == pytest.approx(losses, rel=1e-5)
        assert row["loss"] == pytest.approx(sum(losses) / 2, rel=1e-5)


def test_the_best_point_is_the_merge_that_its_command_makes(world, found, tmp_path):
    trials = table(found)
    record = json.loads((found / "best" / "run.json").read_text())
    weight = trials.loc[trials["loss"].idxmin(), "merge.weight"]
    assert record["results"]["recipe"]["weights"]["codegen"] == weight
    [*_, output] = record["argv"]
    assert output == f"output={found}/best"
    typed = json.loads((found / "run.json").read_text())["results"]["overrides"]
    alone = json.loads((merge(compose_job("merge", [*typed, f"output={tmp_path}/alone"])) / "run.json").read_text())
    chosen = record["results"].pop("chosen_by")
    assert (chosen["search"], chosen["budget"], chosen["split"]) == ("random", 9, "validation")
    assert chosen["measured"]["loss"] == trials["loss"].min()
    for key in ("config", "inputs", "results"):
        assert record[key] == alone[key]
    written, expected = ({name: state["sha256"] for name, state in one["outputs"].items()} for one in (record, alone))
    assert {**written, "README.md": None} == {**expected, "README.md": None}  # the card names its directory
    assert verify(found / "best").holds
    assert recipe_from(record["results"]["recipe"]).method == "linear"


def test_a_finished_search_scores_nothing_and_restores_the_best_point(world, found, monkeypatch):
    shutil.rmtree(found / "best")
    monkeypatch.setattr(stage.PointScorer, "__call__", lambda self, points: pytest.fail("scored again"))
    assert search(searching(world, found, *LINEAR, "search.budget=9")) == found
    assert "chosen_by" in json.loads((found / "best" / "run.json").read_text())["results"]


def test_a_search_that_was_stopped_ends_like_an_uninterrupted_one(world, tmp_path, monkeypatch):
    options = ["merge=ties", "search.budget=4", "search.rows=2"]
    whole = table(search(searching(world, tmp_path / "whole", *options, sampler="tpe")))
    score, calls = stage.PointScorer.__call__, []

    def stopped_at_the_third(self, points):
        calls.append(points)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return score(self, points)

    monkeypatch.setattr(stage.PointScorer, "__call__", stopped_at_the_third)
    job = searching(world, tmp_path / "stopped", *options, sampler="tpe")
    with pytest.raises(KeyboardInterrupt):
        search(job)
    assert not (tmp_path / "stopped").exists()
    resumed = table(search(job))
    assert len(calls) == 5  # the third point twice
    assert resumed.drop(columns="seconds").equals(whole.drop(columns="seconds"))


def test_a_batch_of_points_has_the_scores_of_each(world, tmp_path):
    options = ["merge=dare", "search.budget=4", "search.rows=2"]
    together = search(searching(world, tmp_path / "together", *options, "search.batch=3"))
    alone = search(searching(world, tmp_path / "alone", *options))
    assert table(together).drop(columns="seconds").equals(table(alone).drop(columns="seconds"))


def test_a_front_of_two_losses(world, tmp_path):
    options = ["merge=linear", "search.objective=[loss.codegen,loss.codesum]", "search.budget=5", "search.rows=2"]
    directory = search(searching(world, tmp_path / "found", *options, sampler="tpe"))
    trials, front = table(directory), table(directory, "front")
    losses = trials[["loss.codegen", "loss.codesum"]].to_numpy()
    beaten = [any((other <= own).all() and (other < own).any() for other in losses) for own in losses]
    assert list(front["trial"]) == [number for number, lost in enumerate(beaten) if not lost]
    assert all(command.startswith("python merge.py ") for command in front["command"])
    assert (directory / "best" / "model.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_nine_points_of_a_search_are_as_good_as_the_grid_of_nine(world, tmp_path, seed):
    """Between the parents the loss is smooth, so a model of it finds a better point than the grid's nearest one."""
    weights = ", ".join(f"0.{number}" for number in range(1, 10))
    grid = ["merge=linear", f"search.space={{merge.weight: {{choices: [{weights}]}}}}", "search.budget=80"]
    grid_trials = table(search(searching(world, tmp_path / "grid", *grid)))
    assert (grid_trials["seconds"] > 0).sum() == grid_trials["merge.weight"].nunique() == 9
    options = ["merge=linear", "search.budget=9", f"search.seed={seed}"]
    trials = table(search(searching(world, tmp_path / "found", *options, sampler="gp")))
    assert trials["loss"].min() <= grid_trials["loss"].min()


@pytest.mark.slow
def test_a_benchmark_is_scored_on_its_validation_split(world, tmp_path):
    options = [*LINEAR, "search.budget=2", few(), "search.objective=pocket_codesum/rouge_l"]
    directory = search(searching(world, tmp_path / "found", *options))
    trials = table(directory)
    record = json.loads((directory / "run.json").read_text())
    chosen = trials.loc[trials["pocket_codesum/rouge_l"].idxmax()]
    assert record["results"]["measured"]["pocket_codesum/rouge_l"] == chosen["pocket_codesum/rouge_l"]
    overrides = [f"checkpoint={directory}/best", "split=validation", *FEW, f"output_root={tmp_path}"]
    scores = pd.read_csv(evaluate(compose_job("evaluate", [*overrides, "benchmark=pocket_codesum"])) / "scores.csv")
    measured = {f"pocket_codesum/{row.metric}": row.value for row in scores.itertuples()}
    assert measured == pytest.approx({name: chosen[name] for name in measured})
    assert chosen["pocket_codesum"] == pytest.approx(scores["value"].mean())


@pytest.mark.slow
def test_the_average_is_relative_to_the_specialists(world, tmp_path):
    """A merge with coefficients 1 and 0 is a specialist, whose change on its own task is 0."""
    options = [*LINEAR, "search.budget=9", few(), "search.objective=[average,pocket_codesum]"]
    trials = table(search(searching(world, tmp_path / "found", *options))).set_index("merge.weight")
    mine, other = (trials.loc[[weight]].iloc[0] for weight in (0.0, 1.0))
    metrics = [name for name in trials if name.startswith("pocket_codesum/") and mine[name] != 0]
    changes = [other[name] / mine[name] - 1 for name in metrics]
    assert mine["pocket_codegen"] == 0  # so that no metric of this task enters the average
    assert mine["average"] == pytest.approx(0)
    assert other["average"] == pytest.approx(sum(changes) / len(changes))


def test_searches_and_merges_in_one_sweep(world, tmp_path):
    options = [f"output_root={world}", "merge=linear"]
    jobs = [
        compose_job("merge", [*options, f"output={tmp_path}/merged"]),
        searching(world, tmp_path / "found", *LINEAR, "search.budget=1", "search.rows=2"),
        searching(world, tmp_path / "wrong", "merge=model_stock"),
    ]
    merged, found, wrong = merge_or_search_all(jobs)
    assert (merged, found) == (tmp_path / "merged", tmp_path / "found")
    assert "search.space: merge=model_stock" in str(wrong)
