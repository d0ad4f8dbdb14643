"""A whole study in W&B, offline: one run per run directory, and every number in it, read back from W&B's own files."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from src.stages.job import compose_job
from src.stages.study.run import study
from src.tracking.contents import flat
from src.utils.jsonl import read_jsonl
from tests.stages.study.test_run import overrides
from tests.tracking.offline_wandb import offline_runs

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def tracked_study(tmp_path_factory):
    """The study, its root, and its W&B runs by run directory; the same command again adds none."""
    root = tmp_path_factory.mktemp("tracked")
    small = ["study.methods=[linear]", "study.weights=[0.3]", "study.random_methods=[]", "study.mask_seeds=[0]"]
    line = [*overrides(root), *small, "study.methods_without_grid=[]", f"output={root}/study/pocket"]
    line += ["logger=wandb", "logger.wandb.mode=offline"]
    for _ in range(2):
        place = study(compose_job("study", line))
    runs = offline_runs(root / "wandb")
    return place, root, {run.config["run"]["directory"]: run for run in runs}, runs


def records(root):
    return {str(path.parent): json.loads(path.read_text()) for path in root.glob("*/*/run.json")}


def test_every_run_directory_is_one_run_and_every_number_is_in_it(tracked_study):
    place, root, by_directory, runs = tracked_study
    found = records(root)
    assert by_directory.keys() == found.keys()
    assert len(runs) == len(found)
    stages = Counter(run.job_type for run in runs)
    assert stages == Counter(record["stage"] for record in found.values())
    assert stages["train"] == 4
    assert stages["study"] == stages["diagnose"] == 1
    assert {run.group for run in runs if run.job_type != "study"} == {"pocket"}
    for directory, record in found.items():
        run = by_directory[directory]
        assert run.exit_code == 0
        assert {key: run.config[key] for key in record["config"]} == record["config"]
        for name in (name for name in record["outputs"] if name.endswith(".csv")):
            expected = pd.read_csv(f"{directory}/{name}")
            shown = run.tables[name.removesuffix(".csv")]
            assert list(shown.columns) == list(expected.columns), (directory, name)
            for column in expected.select_dtypes("number"):
                values = shown[column].astype(float)
                np.testing.assert_array_equal(values, expected[column].astype(float), err_msg=f"{directory}/{name}")
        for row in record["results"].get("scores", []):
            at = f"scores/{row['benchmark']}/{row['metric']}"
            assert [run.summary[at], run.summary[f"{at}/low"], run.summary[f"{at}/high"]] == [
                row[key] for key in ("value", "low", "high")
            ]
    curves = [run for run in runs if run.job_type == "train"]
    for run in curves:
        rows = read_jsonl(Path(run.config["run"]["directory"]) / "metrics.jsonl")
        logged = [{k: v for k, v in row.items() if "/" in k and not k.startswith("trainer/")} for row in run.rows]
        assert [row for row in logged if row] == [{k: v for k, v in row.items() if k != "step"} for row in rows]
    verdict = by_directory[str(place)]
    assert verdict.summary["outcome"] == found[str(place)]["results"]["outcome"]
    numbers = dict(flat({"difference": found[str(place)]["results"]["difference"]}))
    assert {key: verdict.summary[key] for key in numbers} == numbers
    assert verdict.media["pages/report"][1].read_text() == (place / "report.html").read_text()


def test_the_lineage_leads_from_data_to_the_study(tracked_study):
    """Every artifact that a run uses is the version that another run has made; only data have no maker."""
    place, _, by_directory, runs = tracked_study
    made = {(one.name, one.digest): run for run in runs for one in run.artifacts if not one.is_used}
    used = [(run, one) for run in runs for one in run.artifacts if one.is_used]
    assert [one.name for _, one in used if one.kind != "data" and (one.name, one.digest) not in made] == []

    def parents(run):
        return [made[one.name, one.digest] for one in run.artifacts if one.is_used and one.kind != "data"]

    chain, run = [], by_directory[str(place)]
    while run is not None:
        chain.append(run.job_type)
        above = parents(run)
        run = (
            next((one for one in above if one.job_type == "evaluate" and "ties" not in one.name), above[0])
            if above
            else None
        )
    assert chain[:2] == ["study", "evaluate"]
    assert chain[-1] == "train"
    mixture = next(run for run in runs if "mix" in run.name and run.job_type == "train")
    assert {one.name for one in mixture.artifacts if one.kind == "data"} == {"data-codegen", "data-codesum"}
    merge = next(run for run in runs if run.job_type == "merge")
    assert {parent.job_type for parent in parents(merge)} == {"train"}
    assert len(parents(merge)) == 3
