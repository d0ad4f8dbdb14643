"""Confounds of a study: of its plan before anything runs, and of its runs before the verdict."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from src.evaluation.preflight.finding import Finding
from src.evaluation.statistics.scores import Score, write_scores
from src.stages.build import build
from src.stages.job import compose_job
from src.stages.study.execute import ScoredModel, TrainedModel
from src.stages.study.jobs import StudyJobs
from src.stages.study.plan import PlannedModel
from src.stages.study.preflight import check_plan, check_runs
from src.stages.study.problem_page import write_problem_page
from src.utils.errors import UserError
from tests.evaluation.preflight.records import World, scores

MODELS = (
    ("base", "base", None, None),
    ("codegen", "specialist", "codegen", None),
    ("codesum", "specialist", "codesum", None),
    ("mix", "mix", None, None),
    ("ties", "merge", None, "ties"),
)


def planned(*overrides):
    small = [
        "study.weights=[0.5]",
        "study.methods=[linear]",
        "study.random_methods=[]",
        "study.methods_without_grid=[]",
        "study.grids=null",
    ]
    return StudyJobs(build(compose_job("study", [*small, *overrides]).cfg.study), 0, "runs")


@pytest.mark.slow
def test_the_plan_of_the_pocket_study_is_fair():
    assert check_plan(planned(), "strict") == []


@pytest.mark.slow
def test_strict_runs_the_default_study_and_names_the_keys_that_others_need():
    pocket = StudyJobs(build(compose_job("study", ["study.cells=null"]).cfg.study), 0, "runs")
    assert {(one.kind, one.severity) for one in check_plan(pocket, "strict")} == {("candidates tried", "note")}
    fair = StudyJobs(build(compose_job("study", ["study=fair"]).cfg.study), 0, "runs")
    with pytest.raises(UserError, match=r"training prompt.*benchmarks\.humaneval\.user_prompt"):
        check_plan(fair, "strict")


def test_another_learning_rate_and_other_decoding_of_merges_are_found_in_the_plan():
    jobs = planned(
        '+study.run_overrides.mix=["strategy.learning_rate=0.5"]',
        '+study.merged_evaluate_overrides=["+benchmarks.pocket_codesum.decoding.repetition_penalty=1.1"]',
    )
    found = {finding.kind: finding for finding in check_plan(jobs, "warn")}
    assert set(found) - {"candidates tried"} == {"learning rate", "pocket_codesum decoding.repetition_penalty"}
    assert "mixture: 0.5" in found["learning rate"].found
    assert "merges: 1.1" in found["pocket_codesum decoding.repetition_penalty"].found
    with pytest.raises(UserError, match=r"preflight=strict refuses.*learning rate"):
        check_plan(jobs, "strict")
    assert check_plan(jobs, "off") == []


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def study_of(world, points=1):
    """A study with one training seed whose runs are those of the world."""
    place = world.write()
    models = [PlannedModel(name, kind, task=task, method=method, job=None) for name, kind, task, method in MODELS]
    scored = [
        ScoredModel(TrainedModel(model, world.place / "models" / model.name), "test", None, place / model.name)
        for model in models
    ]
    jobs = SimpleNamespace(
        seeds=[0], trained=models[:4], grid=models[4:] * points, plan=SimpleNamespace(mask_seeds=[0])
    )
    return jobs, scored


def test_fair_runs_have_no_findings(world):
    jobs, scored = study_of(world)
    assert check_runs(jobs, scored, "strict", []) == []


def test_answers_that_were_cut_off_on_validation_data(world):
    cut = {"results.finish.pocket_codegen": {"end": 9, "length": 1}, "cost": {}, "argv": []}
    jobs, scored = study_of(world.change_evaluation("ties", **cut))
    [merge] = [item for item in scored if item.trained.model.kind == "merge"]
    [finding] = check_runs(jobs, [*scored[:-1], replace(merge, split="validation")], "warn", [])
    assert finding.kind == "cut-off answers of pocket_codegen (validation)"
    assert finding.found == "ties: 1 of 10"


def test_runs_show_what_the_plan_cannot(world, capsys):
    for name, value in (("codegen", 0.2), ("base", 0.3)):
        world.change_evaluation(name, **{"results.scores": scores(codegen=value)})
    jobs, scored = study_of(world.change("mix", **{"results.trained_on.codegen.tokens": 9000}), points=3)
    told = [
        Finding("candidates tried", "caution", "as planned", "", ""),
        Finding("prompt", "caution", "planned", "", ""),
    ]
    found = {finding.kind: finding for finding in check_runs(jobs, scored, "warn", told)}
    assert next(iter(found)) == "specialist below base"  # the only serious one
    assert set(found) == {"specialist below base", "training tokens of codegen", "candidates tried", "prompt"}
    assert found["candidates tried"].found == "mix: 1; ties: 3"  # replaces what the plan said
    with pytest.raises(UserError, match="specialist below base"):
        check_runs(jobs, scored, "strict", told)
    assert check_runs(jobs, scored, "off", []) == []
    captured = capsys.readouterr()
    assert "specialist below base" not in captured.out + captured.err  # said once, above the verdict


def test_mixture_and_merge_problem_by_problem(world, tmp_path):
    _, scored = study_of(world)
    for name, solved in (("mix", 3), ("ties", 1)):
        rows = [Score("pocket_codegen", f"t{item}", "pass@1+", float(item < solved)) for item in range(4)]
        write_scores(rows, name, world.place / "evaluate" / name / "items.csv")
    finding = Finding("base", "serious", "a; b", "Other starts.", "base=DIR")
    [sentence] = write_problem_page(scored, "mix", "ties", tmp_path, [finding])
    assert sentence == (
        "pocket_codegen: of 4 problems, TIES solves 0 that Data mixture does not, Data mixture solves 2 that TIES does "
        "not (pass@1+)."
    )
    page = (tmp_path / "differences.html").read_text()
    assert page.count("<details") == 2
    assert "base: a; b. Other starts." in page
    assert (tmp_path / "differences.csv").is_file()
