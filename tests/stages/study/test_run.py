import json
import re
import shutil
from dataclasses import replace

import pandas as pd
import pytest

import src.stages.study.costs as costs_module
from src.evaluation.benchmarks.code import CodeBenchmark
from src.runs.finished import open_finished
from src.stages.evaluate.point_losses import Spent
from src.stages.job import compose_job
from src.stages.study.costs import costs
from src.stages.study.execute import TrainedModel
from src.stages.study.jobs import StudyJobs
from src.stages.study.plan import PlannedModel, StudyPlan
from src.stages.study.run import study
from src.utils.errors import UserError
from tests.stages.conftest import SHORT, TINY

FEW = [
    *("benchmarks.pocket_codegen.problems.count=5", "+benchmarks.pocket_codegen.limit=5"),
    *("benchmarks.pocket_codesum.rows.count=5", "+benchmarks.pocket_codesum.limit=5", "sandbox.min_time_limit=0.1"),
]


def quoted(overrides):
    return ", ".join(f'"{override}"' for override in overrides)


def overrides(root, executor="serial"):
    lists = {"base_overrides": TINY, "train_overrides": SHORT, "evaluate_overrides": FEW}
    grid = {
        "methods_without_grid": ["adaptive"],
        "weights": [0.3, 0.7],
        "methods": ["linear", "dare"],
        "random_methods": ["dare"],
        "mask_seeds": [0, 1],
    }
    return [
        f"output_root={root}",
        f"executor={executor}",
        *("study.cells=null", "study.grids=null", "study.choice=generate"),
        "study.metrics=[chrf++]",
        *(f"study.{key}=[{', '.join(map(str, values))}]" for key, values in grid.items()),
        *(f"study.{key}=[{quoted(values)}]" for key, values in lists.items()),
    ]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    return study(compose_job("study", [*overrides(root), f"output={root}/study/pocket"])), root


def test_the_study_leaves_its_report_and_tables(finished):
    directory, _ = finished
    page = (directory / "report.html").read_text()
    record = json.loads((directory / "run.json").read_text())
    assert record["results"]["verdict"].split(".")[0] in page
    assert not re.search(r'(src|href)="http', page)
    ablation = pd.read_csv(directory / "ablation.csv")
    assert len(ablation) >= 4
    assert (directory / "report.md").read_text().startswith("# ")
    assert page.index('id="verdict"') < page.index("What could change the answer") < page.index('id="preflight"')
    assert "candidates tried" in page
    assert page.index('id="preflight"') < page.index('id="reading"') < page.index('href="differences.html"')
    assert "Data mixture against" in (directory / "differences.html").read_text()


def test_a_study_that_resumes_refuses_weights_that_were_replaced(finished, tmp_path):
    directory, root = finished
    specialist = root / "train" / "pocket-specialist-codegen-s0"
    if not specialist.is_dir():
        [specialist] = (root / "train").glob("pocket-specialist-codegen-*s0")
    weights = specialist / "model.safetensors"
    [mixture] = (root / "train").glob("pocket-mix-*s0")
    weights.rename(root / "kept")
    directory.rename(root / "kept-study")  # as if it had been stopped before its report
    shutil.copy(mixture / "model.safetensors", weights)
    try:
        with pytest.raises(UserError, match=rf"{specialist} .*model\.safetensors has changed"):
            study(compose_job("study", [*overrides(root), f"output={root}/study/pocket"]))
    finally:
        (root / "kept").replace(weights)
        (root / "kept-study").rename(directory)


def test_test_problems_are_touched_for_the_chosen_alone(finished):
    _, root = finished
    tested = sorted(path.name for path in (root / "evaluate").glob("*-test"))
    merges = [name for name in tested if "linear" in name or "dare" in name]
    assert len(merges) == 3  # one linear, one dare, and the chosen dare point under the other mask seed
    assert len(list((root / "evaluate").glob("*-validation"))) == 4 + 4 + 1
    assert any("seed1" in name for name in merges)


def test_weights_are_written_for_the_chosen_points_alone(finished):
    """Grid points and other draws are merged into the model that is evaluated, with nothing on disk."""
    _, root = finished
    written = sorted(place.parent.name for place in (root / "merge").glob("*/model.safetensors"))
    assert len(written) == 3  # linear, dare, adaptive
    assert len(list((root / "merge").glob("*-recipe"))) == 4 + 1 + 1


def test_every_row_has_the_command_that_makes_it(finished):
    directory, root = finished
    page = (directory / "report.md").read_text()
    assert "python merge.py merge=linear merge.weight=0.3 save_weights=false base=" in page
    assert re.search(r"python merge.py merge=linear merge.weight=0.[37] base=", page)
    assert f"python train.py strategy=mix base={root}" in page


def test_a_finished_study_is_not_run_again(finished, capsys):
    directory, root = finished
    before = (directory / "report.html").stat().st_mtime_ns
    assert study(compose_job("study", [*overrides(root), f"output={root}/study/pocket"])) == directory
    assert (directory / "report.html").stat().st_mtime_ns == before
    captured = capsys.readouterr()
    said = re.sub(r"\s+", " ", captured.out + captured.err)
    results = json.loads((directory / "run.json").read_text())["results"]
    assert any(row["kind"] == "candidates tried" for row in results["findings"])
    for sentence in (*(row["found"] for row in results["findings"]), results["verdict"].splitlines()[0]):
        assert said.count(re.sub(r"\s+", " ", sentence)) == 1


def test_the_cost_of_choosing_counts_answers_losses_and_devices(finished):
    _, root = finished
    place = next(iter((root / "train").glob("pocket-mix-*")))
    made = replace(open_finished(place), cost={"seconds": 3.0, "device_seconds": 24.0, "bytes": 5})
    spent = {"merge": Spent(8, 2.0), "specialist": Spent(2, 0.5), "base": Spent(1, 9.0)}
    mixture = TrainedModel(PlannedModel("mixture", "mix", job=None), place)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(costs_module, "open_finished", lambda _: made)
        table = costs([mixture], [], replace(mixture, model=PlannedModel("ties", "merge", job=None)), [], spent)
    assert table["device_seconds"].tolist() == [24.0, 24.0 + 2.5]
    assert table["loss_passes"].tolist() == [0, 10]


def test_a_finished_study_of_other_problems_is_another_study(finished, monkeypatch):
    _, root = finished
    monkeypatch.setattr(CodeBenchmark, "content_hash", lambda self, split: f"others of {split}")
    with pytest.raises(UserError, match=r"holds another run.*inputs\.test items\.pocket_codegen"):
        study(compose_job("study", [*overrides(root), f"output={root}/study/pocket"]))


def test_the_study_calls_what_a_user_would_type():
    few = ["study.random_methods=[]", "study.methods_without_grid=[]", "study.base_overrides=[]", "study.grids=null"]
    plan = compose_job("study", ["study.weights=[0.1,0.9]", "study.methods=[ties]", *few])
    from src.stages.build import build

    jobs = StudyJobs(build(plan.cfg.study), seed=2, output_root="runs")
    assert [" ".join(subject.job.command) for subject in [*jobs.trained, *jobs.grid]] == [
        "python train.py strategy=base seed=2",
        "python train.py strategy=specialist task=codegen seed=2",
        "python train.py strategy=specialist task=codesum seed=2",
        "python train.py strategy=mix seed=2",
        "python merge.py merge=ties merge.weight=0.1 save_weights=false seed=2",
        "python merge.py merge=ties merge.weight=0.9 save_weights=false seed=2",
    ]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"tasks": ["codegen"]}, r"study.tasks: expected two or more tasks, got \['codegen'\]"),
        ({"weights": [1.5]}, "study.weights.0 must be at most 1, got 1.5"),
        ({"random_methods": ["della"]}, "della, which is not in study.methods"),
        ({"methods": []}, r"study.methods=\[\] and study.mixture=true"),
        ({"methods_without_grid": ["ties"]}, "ties, which has a grid"),
    ],
)
def test_a_plan_that_cannot_be_run_is_refused(changed, words):
    plan = {
        "name": "x", "title": "X", "model": "pocket", "tasks": ["codegen", "codesum"], "methods": ["ties"],
        "weights": [0.5], "methods_without_grid": [], "random_methods": [], "mask_seeds": [0], "metrics": None,
        "headline": {"codegen": "pass@1", "codesum": "bleu4_paper"},
        "base_overrides": [], "train_overrides": [], "merge_overrides": [], "evaluate_overrides": [],
    }  # fmt: skip
    StudyPlan(**plan)
    with pytest.raises(UserError, match=words):
        StudyPlan(**plan | changed)
