"""Losses of the merges of every subset of the specialists."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from hydra.errors import InstantiationException

from src.stages.build import build
from src.stages.job import compose_job
from src.stages.study.dry_run import command_lines, summary_lines
from src.stages.study.jobs import StudyJobs
from src.stages.study.run import study
from src.utils.errors import UserError
from tests.stages.conftest import SHORT, TINY
from tests.stages.study.test_run import quoted


def test_subsets_stand_alone():
    refused = r"study\.subsets=\['linear'\] needs study\.mixture=false"
    with pytest.raises((UserError, InstantiationException), match=refused):
        build(compose_job("study", ["study.subsets=[linear]"]).cfg.study)
    jobs = StudyJobs(build(compose_job("study", ["study=pocket_law"]).cfg.study), 0, "runs")
    assert jobs.plan.splits == ()
    assert [model.name for model in jobs.trained] == ["base", *(f"{task} specialist" for task in jobs.tasks)]
    assert "# 114 merges without weights on disk, 0 evaluations" in summary_lines([jobs])  # 2 methods, 64 - 7 subsets
    *_, losses = command_lines(jobs)
    assert losses.startswith("# losses of every subset merged by linear, ties: python evaluate.py benchmark=nll")
    assert jobs.merge_settings("ties")["_target_"] == "src.merging.registry.ties"


@pytest.mark.slow
def test_every_subset_has_its_losses_and_the_cells_their_law(tmp_path):
    words = [
        *("study=pocket_law", f"output_root={tmp_path}", "executor=serial", "study.tasks=[lists,tables,rows]"),
        *(f"study.base_overrides=[{quoted(TINY)}]", f"study.train_overrides=[{quoted(SHORT)}]", "study.loss_rows=8"),
        "study.cells={width: null, base_steps: null, lr: [0.01,0.003], steps: null}",
    ]
    place = study(compose_job("study", words))
    cells = sorted(path for path in tmp_path.glob("study/*/subsets.csv") if path.parent != place)
    assert len(cells) == 2
    table = pd.read_csv(cells[0])
    assert table["k"].value_counts().to_dict() == {0: 1, 1: 6, 2: 6, 3: 2}
    single = table[(table["k"] == 1) & (table["subset"] == "lists")]
    assert single["nll_lists"].nunique() == 1  # the specialist, whatever the method
    assert (table.loc[table["k"] > 0, "own_loss"].notna()).all()
    pair = table[(table["subset"] == "lists+rows") & (table["method"] == "linear")].iloc[0]
    assert pair["own_loss"] == pytest.approx((pair["nll_lists"] + pair["nll_rows"]) / 2)
    assert pair["loss"] == pytest.approx((pair["nll_lists"] + pair["nll_tables"] + pair["nll_rows"]) / 3)
    law = json.loads((place / "law.json").read_text())
    assert set(law) == {"linear", "ties"}
    assert len(pd.read_csv(place / "losses.csv")) == 2 * len(table)
    results = json.loads((place / "run.json").read_text())["results"]
    assert results["law"][0].startswith("linear: L = ")
