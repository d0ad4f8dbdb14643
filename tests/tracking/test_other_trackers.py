"""Trackers that come from a YAML file alone, for real: TensorBoard and MLflow with a local store."""

from __future__ import annotations

from pathlib import Path

import pytest

from src.runs.record import open_run
from src.stages.job import compose_job
from src.stages.trackers import mirror_job
from src.utils.jsonl import write_jsonl

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished training run with two rows and two scores whose names differ by a sign."""
    place = tmp_path / "train" / "pocket-mix-s0"
    with open_run(place, stage="train", config={"strategy": {"steps": 2}}, argv=["python", "train.py"]) as run:
        write_jsonl(run.work / "metrics.jsonl", [{"step": 1, "train/loss": 2.5}, {"step": 2, "train/loss": 1.5}])
        run.results |= {
            "scores": [
                {"benchmark": "mbpp", "metric": metric, "value": value}
                for metric, value in (("pass@1", 0.5), ("pass@1+", 0.25))
            ]
        }
    return place


def test_mlflow_with_a_local_store(tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for _ in range(2):
        mirror_job(compose_job("train", ["strategy=mix", "logger=mlflow", f"output_root={tmp_path}"]), run)
    client = mlflow.tracking.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    [experiment] = [one for one in client.search_experiments() if one.name == "mixmerge"]
    [found] = client.search_runs([experiment.experiment_id])
    assert (found.info.run_name, found.info.status) == ("pocket-mix-s0", "FINISHED")
    assert found.data.params["strategy/steps"] == "2"
    losses = {one.step: one.value for one in client.get_metric_history(found.info.run_id, "train/loss")}
    assert losses == {1: 2.5, 2: 1.5}
    assert found.data.metrics["scores/mbpp/pass_at_1"] == 0.5
    assert found.data.metrics["scores/mbpp/pass_at_1_plus"] == 0.25


def test_tensorboard(tmp_path: Path, run: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for _ in range(2):
        mirror_job(compose_job("train", ["strategy=mix", "logger=tensorboard", f"output_root={tmp_path}"]), run)
    events = reader.EventAccumulator(str(tmp_path / "tensorboard" / run.name))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(1, 2.5), (2, 1.5)]
    assert [(event.step, event.value) for event in events.Scalars("scores/mbpp/pass_at_1_plus")] == [(2, 0.25)]
