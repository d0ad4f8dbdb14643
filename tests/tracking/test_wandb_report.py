"""The W&B Report of a study: its own specification object holds the verdict, the runs, the tables and the commands."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.runs.record import add_results, open_run
from src.tracking.wandb_report import build_report, lineage, markdown_table, report_plan, save_report
from src.utils.errors import UserError

HEADLINE = pd.DataFrame({"model": ["mixture", "ties 0.3"], "pass@1": [0.25, 0.5]})


def finished(place: Path, stage: str, results: Mapping[str, Any], config: Mapping[str, Any] | None = None) -> Path:
    with open_run(place, stage=stage, config=config or {}, argv=["python", f"{stage}.py", place.name]) as run:
        if stage == "study":
            HEADLINE.to_csv(run.work / "headline.csv", index=False)
            (run.work / "figures").mkdir()
            (run.work / "figures" / "trade_off.png").write_bytes(b"png")
        run.results |= results
    add_results(place, tracked={"wandb": {"id": f"id-{place.name}", "project": "pocket", "entity": "lab"}})
    return place


@pytest.fixture
def study(tmp_path: Path) -> Path:
    base = finished(tmp_path / "train" / "base", "train", {})
    mix = finished(tmp_path / "train" / "mix", "train", {"parents": {"base": str(base)}})
    scores = [{"benchmark": b, "metric": m, "value": 0.5} for b, m in (("code", "pass@1"), ("text", "bleu"))]
    results = {"checkpoint": str(mix), "scores": scores}
    evaluation = finished(tmp_path / "evaluate" / "mix-test", "evaluate", results)
    config = {"study": {"title": "Pocket study", "headline": {"codegen": "pass@1", "codesum": "bleu"}}}
    results = {"verdict": "Mix the data.\nTake mix.", "used": [str(evaluation)]}
    return finished(tmp_path / "study" / "pocket", "study", results, config)


@pytest.mark.filterwarnings("ignore")
def test_the_specification_holds_the_study(study: Path) -> None:
    pytest.importorskip("wandb_workspaces")
    plan = report_plan(study)
    model = build_report(plan)._to_model()
    assert (model.display_name, model.project.name, model.project.entity_name) == ("Pocket study", "pocket", "lab")
    spec = json.loads(model.spec.model_dump_json(by_alias=True, exclude_none=True))
    blocks = spec["blocks"]
    titles = [block["children"][0]["text"] for block in blocks if block["type"] == "heading"]
    assert titles == ["Verdict", "Scores", "Training", "Figures", "Tables", "Runs", "Commands"]
    texts = [block["content"] for block in blocks if block["type"] == "markdown-block"]
    assert texts[:2] == ["Mix the data.\nTake mix.", markdown_table(HEADLINE)]
    grids = [block["metadata"] for block in blocks if block["type"] == "panel-grid"]
    ids = [json.dumps(grid["runSets"][0]["filters"]) for grid in grids]
    assert ["id-mix-test" in found for found in ids] == [True, False, False, False, True]
    assert ['id-mix"' in found and "id-base" in found for found in ids] == [False, True, False, False, True]
    assert ["id-pocket" in found for found in ids] == [False, False, True, True, False]
    panels = [grid["panelBankSectionConfig"]["panels"] for grid in grids]
    assert [len(found) for found in panels] == [3, 2, 1, 1, 1]
    plane = json.dumps(panels[0][0])
    assert "scores/code/pass@1" in plane
    assert "scores/text/bleu" in plane
    assert "figures/trade_off" in json.dumps(panels[2])
    assert "headline" in json.dumps(panels[3])
    assert texts[2].splitlines()[1:-1] == [
        *("python train.py base", "python train.py mix", "python evaluate.py mix-test", "python study.py pocket"),
    ]


def test_the_lineage_has_every_run_once(study: Path) -> None:
    assert [place.name for place, _ in lineage(study)] == ["pocket", "mix-test", "mix", "base"]


def test_a_study_that_is_not_in_wandb_is_one_line(tmp_path: Path) -> None:
    with open_run(tmp_path / "study", stage="study", config={}):
        pass
    with pytest.raises(UserError, match=r"expected a finished study with its run in W&B.*logger=wandb"):
        report_plan(tmp_path / "study")


def test_a_report_needs_a_key(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    with pytest.raises(UserError, match=r"wandb_report: .*needs a key.*wandb sync"):
        save_report(report_plan(study))
