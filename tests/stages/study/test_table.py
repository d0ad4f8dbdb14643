"""A study with cells: shared training runs once, one row per cell, and the lines that it would run."""

from __future__ import annotations

import pandas as pd
import pytest

from src.reporting.cells import CellResult, write_cells
from src.stages.job import compose_job
from src.stages.study.names import cell_jobs, study_directory, with_cell_settings
from src.stages.study.run import study
from src.stages.study.table import study_jobs
from src.utils.errors import UserError
from tests.stages.study.test_run import overrides

FEW = ["study.methods=[linear]", "study.random_methods=[]", "study.methods_without_grid=[]", "study.grids=null"]


def test_a_dry_run_prints_shared_runs_once_and_what_they_cost(capsys):
    axes = "study.cells={lr: [3e-4,1e-3], base_steps: [900,3000], steps: [840], epochs: null}"
    typed = [*FEW, axes, "study.base_overrides=['strategy.architecture.width=192']", "study.choice=generate"]
    study(compose_job("study", [*typed, "dry_run=true"]))
    found = capsys.readouterr().out.splitlines()
    assert sum("strategy=base" in line for line in found) == 2  # shared by the learning rates
    assert sum("strategy=mix" in line for line in found) == 4
    assert sum(line.startswith("python study.py") and "study.cell={lr" in line for line in found) == 4
    # (900 + 3,000) steps of bases and 4 cells of 840 + 840 + 1,680 steps, 0.058 s each
    assert "# 14 training runs: about 0.28 hours of cores in all" in found
    assert found[-2] == "# 36 merges without weights on disk, 72 evaluations"


def test_a_dry_run_of_a_published_model_counts_its_tokens(capsys):
    study(compose_job("study", ["study=fair", *FEW, "dry_run=true"]))
    *_, training, scoring, disk = capsys.readouterr().out.splitlines()
    # 6 x 1.54e9 parameters x 640 million tokens on 0.4 x 989 TFLOP/s; 3 trained models and one merge of 3.1 GB
    assert training == "# 3 training runs: about 4.2 hours of H100s in all"
    assert scoring == "# 9 merges without weights on disk, 18 evaluations"
    assert disk == "# 12 GB of checkpoints"


def test_a_cell_is_a_study_of_its_own():
    whole = compose_job("study", ["study=fair", "executor=local", "study.cells.pair=['codesum,codegen']", "output=x"])
    [job] = cell_jobs(whole, study_jobs(whole).plan)
    assert job.overrides == (
        "study=fair", "executor=serial", "study.name=fair", "study.cells=null",
        "study.cell={pair: 'codesum,codegen'}", "study.tasks=[codesum,codegen]",
    )  # fmt: skip
    several = compose_job("study", ["study=fair", "study.cells.lr=[1e-6,1e-5]", "study.cells.epochs=[2]", "seed=1"])
    places = [study_directory(job, study_jobs(job).plan) for job in cell_jobs(several, study_jobs(several).plan)]
    assert [str(place) for place in places] == ["runs/study/fair-lr1e-06-s1", "runs/study/fair-lr1e-05-s1"]
    typed = compose_job("study", ["study=fair", "study.cell={pair: 'codesum,codegen'}"])
    assert study_jobs(with_cell_settings(typed, study_jobs(typed).plan)).tasks == ["codesum", "codegen"]


def test_every_cell_is_a_row(tmp_path):
    results = {"outcome": "mix", "difference": {"mean": 0.1, "p": 0.01}, "shown": ["not a column"]}
    cells = [CellResult({"lr": lr}, f"../p-lr{lr}", f"verdict <{lr}>", results, "python study.py") for lr in (1, 2)]
    write_cells("Title", cells, tmp_path)
    table = pd.read_csv(tmp_path / "cells.csv")
    assert list(table) == ["lr", "outcome", "difference.mean", "difference.p", "study"]
    assert table["lr"].tolist() == [1, 2]
    assert "verdict &lt;2&gt;" in (tmp_path / "report.html").read_text()
    assert "[lr 1](../p-lr1/report.md): verdict" in (tmp_path / "report.md").read_text()


@pytest.mark.slow
def test_cells_share_their_base_and_a_failed_one_stops_no_other(tmp_path):
    typed = [*overrides(tmp_path, "local"), "executor.workers=2"]
    with pytest.raises(UserError, match=r"1 step of the study failed.*"):
        study(compose_job("study", [*typed, "study.cells={lr: [0.01,1e30]}"]))
    assert len(list(tmp_path.glob("study/[!.]*"))) == 1  # the good cell
    place = study(compose_job("study", [*typed, "study.cells={lr: [0.01,0.02]}"]))
    table = pd.read_csv(place / "cells.csv")
    assert table["lr"].tolist() == [0.01, 0.02]
    assert len(list(tmp_path.glob("train/pocket-base-*"))) == 1
    assert len(list(tmp_path.glob("train/pocket-mix-*"))) == 2
