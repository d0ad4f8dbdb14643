"""A study with cells: shared training runs once, one row per cell, and the lines that it would run."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pandas as pd
import pytest

from src.predictor.atlas import read_atlas
from src.predictor.features import FEATURES, SETTINGS
from src.reporting.cells import CellResult, cell_lines, write_cells
from src.stages.job import compose_job
from src.stages.study.atlas import atlas_row
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


def cell(lr, gap, outcome, width=96):
    return CellResult(
        {"lr": lr, "width": width}, f"../p-lr{lr}", f"finding\nverdict <{lr}>",
        {
            "outcome": outcome, "margin": 0.02, "mixture": {"average": -0.02},
            "merge": {"average": -0.02 - gap, "subject": "linear 0.3"}, "shown": ["not a column"],
            "difference": {"difference": gap, "low": gap - 0.01, "high": gap + 0.01},
        },
        "python study.py",
    )  # fmt: skip


def test_every_cell_is_a_row(tmp_path):
    cells = [cell(1, 0.05, "mix"), cell(2, -0.005, "undecided")]
    write_cells("Title", cells, tmp_path)
    table = pd.read_csv(tmp_path / "cells.csv")
    assert list(table)[:3] == ["lr", "width", "outcome"]
    assert list(table)[-4:] == ["difference.difference", "difference.low", "difference.high", "study"]
    assert table["lr"].tolist() == [1, 2]
    page, text = (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
    assert "verdict &lt;2&gt;" in page
    assert "lr 1: +5.00 points, mix; lr 2: -0.50 points, undecided" in page
    assert "[lr 1](../p-lr1/report.md): finding\nverdict" in text
    assert "| 1 | mixture wins | 98.0% | 93.0% | linear 0.3 | +5.00 | +4.00 to +6.00 |" in text
    for shown in (page, text):
        assert "Of 2 cells: mixture wins in 1, undecided in 1." in shown
        assert "The same in all cells: width 96." in shown
    assert (tmp_path / "figures" / "cells.svg").stat().st_size > 1000
    assert cell_lines(cells)[1] == (
        "lr 2: undecided; mixing keeps 98.0%, the best merge (linear 0.3) 98.5%; "
        "difference −0.50 points (−1.50 to +0.50)"
    )


def test_cells_that_compare_nothing_have_no_figure(tmp_path):
    cells = [CellResult({"lr": 1}, "../p", "scores of the specialists", {"scores": [1]}, "python study.py")]
    write_cells("Title", cells, tmp_path)
    assert not (tmp_path / "figures").exists()
    assert "<figure>" not in (tmp_path / "report.html").read_text()
    assert cell_lines(cells) == ["the only cell: scores of the specialists"]


def test_a_row_of_an_atlas_has_outcome_and_features(tmp_path):
    features = dict.fromkeys(FEATURES, 0.5)
    (tmp_path / "features.json").write_text(json.dumps({"features": features, "settings": dict(SETTINGS)}))
    job = compose_job("study", ["study=pocket_atlas", "study.cell={width: 96, lr: 1e-3, pair: 'codegen,repair'}"])
    jobs = study_jobs(with_cell_settings(job, study_jobs(job).plan))
    verdict = SimpleNamespace(
        difference=SimpleNamespace(difference=0.031), points=SimpleNamespace(difference=0.01),
        variation=SimpleNamespace(items=0.02),
    )  # fmt: skip
    row = atlas_row(jobs, verdict, tmp_path)
    assert row["gap"] == pytest.approx(-3.1)
    assert (row["gap_error"], row["gap_scores"], row["pair"], row["width"]) == (2.0, -1.0, "codegen+repair", 96)
    assert "width96" in row["base"]
    table = pd.DataFrame([row | {"base": f"{row['base']}{index}", "gap": float(index)} for index in range(3)])
    table.to_csv(tmp_path / "atlas.csv", index=False)
    assert read_atlas(tmp_path / "atlas.csv").gap.tolist() == [0, 1, 2]
    assert read_atlas(tmp_path / "atlas.csv", "gap_scores").gap.tolist() == [-1, -1, -1]


@pytest.mark.slow
def test_cells_share_their_base_and_a_failed_one_stops_no_other(tmp_path):
    typed = [*overrides(tmp_path, "local"), "executor.workers=2"]
    with pytest.raises(UserError, match=r"3 steps of the study failed"):
        study(compose_job("study", [*typed, "study.cells={lr: [0.01,1e30]}"]))
    assert len(list(tmp_path.glob("study/[!.]*"))) == 1  # the good cell
    place = study(compose_job("study", [*typed, "study.cells={lr: [0.01,0.02]}"]))
    table = pd.read_csv(place / "cells.csv")
    assert table["lr"].tolist() == [0.01, 0.02]
    assert len(list(tmp_path.glob("train/pocket-base-*"))) == 1
    assert len(list(tmp_path.glob("train/pocket-mix-*"))) == 2
