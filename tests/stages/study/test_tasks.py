"""`study.tasks` alone decides the tasks of every job, their order and their coefficients."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pandas as pd
import pytest

from src.stages.build import build
from src.stages.evaluate.run import evaluate
from src.stages.job import compose_job, searchpath_of
from src.stages.merge.run import merge
from src.stages.study.checks import check_study
from src.stages.study.dry_run import command_lines
from src.stages.study.jobs import StudyJobs
from src.stages.study.run import study
from src.stages.train.run import train
from src.utils.errors import UserError
from tests.stages.conftest import SHORT, TINY
from tests.stages.study.test_run import FEW, quoted

OWN = f"hydra.searchpath=[file://{Path(__file__).parents[1] / 'own/conf'}]"
PLAIN = ("executor=serial", "study.cells=null", "study.grids=null", "study.choice=generate")
STAGES = {"train": train, "merge": merge, "evaluate": evaluate}


def overrides(root: Path, tasks: str) -> list[str]:
    few = [*FEW, "benchmarks.pocket_bugfix.rows.count=5", "benchmarks.pocket_bugfix.limit=5"]
    return [
        *PLAIN,
        *(OWN, f"output_root={root}", f"study.tasks=[{tasks}]", "+study.headline.bugfix=chrf++"),
        *("study.methods=[linear]", "study.weights=[0.3]", "study.random_methods=[]", "study.methods_without_grid=[]"),
        *(f"study.base_overrides=[{quoted(TINY)}]", f"study.train_overrides=[{quoted(SHORT)}]"),
        f"study.evaluate_overrides=[{quoted(few)}]",
        "study.metrics=[chrf++]",
    ]


def jobs_of(*typed: str) -> StudyJobs:
    job = compose_job("study", list(typed))
    return StudyJobs(build(job.cfg.study), job.cfg.seed, job.cfg.output_root, searchpath_of(job.overrides))


def runs(root: Path) -> set[str]:
    return {str(path.parent.relative_to(root)) for path in root.glob("*/*/run.json")} - {"study/pocket"}


def record(place: Path) -> dict:
    return json.loads((place / "run.json").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study of [bugfix, codesum], and the same with the lines of its dry run executed one by one before it."""
    whole, by_lines = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("lines")
    study(compose_job("study", overrides(whole, "bugfix,codesum")))
    lines = command_lines(jobs_of(*overrides(by_lines, "bugfix,codesum")))
    for line in lines:
        if not line.startswith("#"):
            _, script, *words = shlex.split(line)
            STAGES[script.removesuffix(".py")](compose_job(script.removesuffix(".py"), words))
    made = runs(by_lines)
    study(compose_job("study", overrides(by_lines, "bugfix,codesum")))
    return whole, by_lines, lines, made


@pytest.mark.slow
def test_a_plan_executed_line_by_line_is_the_study(finished):
    whole, by_lines, lines, made = finished
    assert all("tasks=[bugfix,codesum]" in line for line in lines)
    assert runs(whole) == runs(by_lines) >= made
    assert len(made) == sum(not line.startswith("#") for line in lines)
    [one], [other] = (sorted(root.glob("study/[!.]*")) for root in (whole, by_lines))
    tables = sorted(path.name for path in one.glob("*.csv"))
    assert {"headline.csv", "ablation.csv"} <= set(tables)
    for name in set(tables) - {"cost.csv"}:
        assert (one / name).read_text() == (other / name).read_text()


@pytest.mark.slow
def test_the_mixture_and_the_merges_have_exactly_the_tasks_of_the_study(finished):
    whole, *_ = finished
    [mixture] = whole.glob("train/pocket-mix-*")
    assert list(record(mixture)["results"]["trained_on"]) == ["bugfix", "codesum"]
    for place in whole.glob("merge/[!.]*"):
        assert set(record(place)["inputs"]) == {"base", "bugfix", "codesum"}
    evaluated = {name for path in whole.glob("evaluate/*/scores.csv") for name in pd.read_csv(path)["benchmark"]}
    assert evaluated == {"pocket_bugfix", "pocket_codesum"}


@pytest.mark.slow
def test_every_weight_has_the_label_of_its_task(finished):
    whole, *_ = finished
    [place] = whole.glob("merge/*linear*-recipe")
    assert record(place)["results"]["recipe"]["weights"] == {"bugfix": 0.3, "codesum": 0.7}
    [page] = whole.glob("study/[!.]*/report.md")
    assert "is the coefficient of bugfix." in page.read_text()


def test_the_order_of_the_tasks_is_that_of_the_coefficients():
    found = jobs_of("study.tasks=[codesum,codegen]")
    assert found.tasks == ["codesum", "codegen"]
    for model in found.grid[:3]:
        names = [str(name) for name in model.job.cfg.specialists]
        assert names == found.tasks == list(model.job.cfg.tasks)


def test_three_tasks_are_in_every_line():
    found = jobs_of(OWN, "study.tasks=[codegen,codesum,bugfix]", "+study.headline.bugfix=chrf++", "study.weights=[0.4]")
    check_study(found, inputs=False)
    lines = command_lines(found)
    assert all("tasks=[codegen,codesum,bugfix]" in line and OWN in line for line in lines)
    assert [line for line in lines if "task=bugfix" in line]
    assert all(f"specialists.{task}=" in line for task in found.tasks for line in lines if "merge.py" in line)


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("study.tasks=[codegen,codsum]", "unknown task 'codsum', did you mean 'codesum'"),
        ("study.merge_overrides=['merge.density=2']", "density"),
        ("study.train_overrides=['optimizer.warmup=2']", "warmup"),
        ("study.evaluate_overrides=['benchmarks.pocket_codegen.limt=2']", r"benchmarks\.pocket_codegen\.limt"),
        ("study.methods=[fisher]", "strategy=fisher task=codegen"),
    ],
)
def test_every_job_is_checked_before_the_first_runs(typed, words, tmp_path):
    few = [
        *PLAIN,
        "study.methods=[ties]",
        "study.weights=[0.3]",
        "study.random_methods=[]",
        "study.methods_without_grid=[]",
    ]
    with pytest.raises(UserError, match=words):
        study(compose_job("study", [*PLAIN, *few, typed, f"output_root={tmp_path}/runs"]))
    assert list(tmp_path.glob("**/run.json")) == []
