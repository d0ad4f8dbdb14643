"""A finished run in W&B, written offline and read back: every number, table, figure and link of the lineage."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from src.runs.finished import read_record
from src.runs.record import open_run
from src.tracking.artifacts import directory_artifact
from src.tracking.contents import Contents, flat
from src.tracking.mirror import is_mirrored, mirror, open_live
from src.tracking.trackers import Header, LoggerTracker, plain_name
from src.tracking.wandb_run import WandbTracker, wandb_mode
from src.utils.errors import UserError
from src.utils.jsonl import write_jsonl
from tests.tracking.offline_wandb import offline_runs

pytestmark = pytest.mark.filterwarnings("ignore")
SCORES = [
    {"subject": "mix", "benchmark": "mbpp", "metric": name, "value": value, "n": 3, "low": low, "high": 0.9, "seed": 0}
    for name, value, low in (("pass@1", 2 / 3, 0.25), ("pass@1+", 1 / 3, 0.125))
]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A finished merge with small and large files."""
    place = tmp_path / "merge" / "pocket-ties-w0.3"
    with open_run(place, stage="merge", config={"recipe": {"weights": {"a": 0.3}}}, argv=["python", "merge.py"]) as run:
        (run.work / "config.json").write_text("{}")
        with (run.work / "model.safetensors").open("wb") as file:
            file.truncate(11 * 2**20)
        run.results |= {"strength": [{"layer": "0", "a": 0.5}]}
    return place


@pytest.fixture
def evaluation(tmp_path: Path, checkpoint: Path) -> Path:
    """A finished evaluation of it."""
    place = tmp_path / "evaluate" / "pocket-ties-w0.3-test"
    config = {"split": "test", "generator": {"max_batch": 16}}
    with open_run(place, stage="evaluate", config=config, argv=["python", "evaluate.py"]) as run:
        pd.DataFrame(SCORES).to_csv(run.work / "scores.csv", index=False)
        verdicts = [{"task_id": f"mbpp/{i}", "base": "pass", "plus": ("pass", "fail")[i % 2]} for i in range(3)]
        write_jsonl(run.work / "verdicts-mbpp.jsonl", verdicts)
        details = [{"task_id": f"mbpp/{i}", "sample": 0, "answer": f"a{i}", "prompt": "<p>"} for i in range(3)]
        write_jsonl(run.work / "details-mbpp.jsonl", details)
        samples = [{"task_id": f"mbpp/{i}", "index": 0, "finish": ("eos", "length")[i // 2]} for i in range(3)]
        write_jsonl(run.work / "samples-mbpp.jsonl", samples)
        (run.work / "figures").mkdir()
        Image.new("RGB", (2, 2), "red").save(run.work / "figures" / "heat.png")
        pd.DataFrame({"item": ["mbpp/1"]}).to_csv(run.work / "report.csv", index=False)  # as differences.csv and .html
        (run.work / "report.html").write_text("<h1>verdict</h1>")
        run.results |= {
            "checkpoint": str(checkpoint), "scores": SCORES, "finish": {"mbpp": {"eos": 2, "length": 1}},
            "definitions": {"mbpp": {"pass@1": "share"}},
        }  # fmt: skip
    return place


def tracker(tmp_path: Path, **keys: Any) -> WandbTracker:
    return WandbTracker(mode="offline", save_dir=str(tmp_path / "w"), **keys)


def test_an_offline_run_holds_what_the_run_directory_holds(tmp_path: Path, evaluation: Path, checkpoint: Path) -> None:
    """Mirrored once, however often it is asked for."""
    for _ in range(2):
        mirror(
            evaluation, {"wandb": tracker(tmp_path, group="study", tags=["mine"], samples=2)}, ("evaluate", "pocket")
        )
    [run] = offline_runs(tmp_path / "w")
    assert (run.name, run.job_type, run.group, run.exit_code) == (evaluation.name, "evaluate", "study", 0)
    assert run.tags == ["evaluate", "pocket", "mine"]
    assert run.config["generator"] == {"max_batch": 16}
    assert run.config["run"]["command"] == "python evaluate.py"
    record = read_record(evaluation)
    assert record is not None
    for row in SCORES:
        name = f"scores/mbpp/{row['metric']}"
        assert [run.summary[name], run.summary[f"{name}/low"], run.summary[f"{name}/n"]] == [
            row[key] for key in ("value", "low", "n")
        ]
    assert run.summary["finish/mbpp/length"] == 1
    assert run.summary["cost/seconds"] == record["cost"]["seconds"]
    assert not any("definitions" in name for name in run.summary)
    tables = run.tables
    assert tables["scores"].to_dict("records") == SCORES
    assert tables["report"].to_dict("records") == [{"item": "mbpp/1"}]
    assert tables["finish"].to_numpy().tolist() == [["mbpp", "eos", 2], ["mbpp", "length", 1]]
    rows = tables["samples/mbpp"].to_dict("records")
    expected = {"task_id": "mbpp/1", "base": "pass", "plus": "fail", "answer": "a1", "prompt": "<p>", "finish": "eos"}
    assert len(rows) == 2
    assert {key: rows[1][key] for key in expected} == expected
    assert {name: kind for name, (kind, _) in run.media.items() if kind != "table-file"} == {
        "figures/heat": "image-file", "pages/report": "html-file"
    }  # fmt: skip
    assert run.media["figures/heat"][1].read_bytes() == (evaluation / "figures" / "heat.png").read_bytes()
    assert run.media["pages/report"][1].read_text() == "<h1>verdict</h1>"
    used, made = (next(one for one in run.artifacts if one.kind == kind) for kind in ("model", "evaluation"))
    assert (used.name, used.is_used, made.name, made.is_used) == (
        *("merge-pocket-ties-w0.3", True), *("evaluate-pocket-ties-w0.3-test", False)
    )  # fmt: skip
    assert made.hashes["scores.csv"] == record["outputs"]["scores.csv"]["sha256"]
    assert used.references == {"model.safetensors": (checkpoint / "model.safetensors").as_uri()}
    assert Path(used.files["config.json"]) == checkpoint / "config.json"
    assert record["results"]["tracked"]["wandb"]["id"] == run.id
    assert is_mirrored(evaluation, {"wandb": None})
    assert not is_mirrored(evaluation, {"wandb": None, "mlflow": None})


def test_a_node_of_the_lineage_is_the_same_made_or_used(tmp_path: Path, evaluation: Path, checkpoint: Path) -> None:
    for place in (checkpoint, evaluation):
        mirror(place, {"wandb": tracker(tmp_path)}, ())
    made, by = offline_runs(tmp_path / "w")
    [one], [other] = ([node for node in run.artifacts if node.kind == "model"] for run in (made, by))
    assert (one.name, one.digest, one.is_used, other.is_used) == (other.name, other.digest, False, True)
    assert made.tables["strength"].to_dict("records") == [{"layer": "0", "a": 0.5}]
    changed = directory_artifact(checkpoint).hashes
    assert changed.keys() == {"config.json", "model.safetensors", "(configuration and inputs)"}


class Down(WandbTracker):
    """W&B fails while a run is shown."""

    def show(self, contents: Contents) -> None:
        raise ConnectionError("no route to host")


def test_a_tracker_that_fails_is_one_warning_and_is_tried_again(
    tmp_path: Path, evaluation: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in (evaluation, checkpoint):
        mirror(place, {"down": Down(mode="offline", save_dir=str(tmp_path / "w"))}, ())
        assert not is_mirrored(place, {"down": None})
    assert capsys.readouterr().err.count("warning: logger.down failed (no route to host)") == 1
    assert {run.exit_code for run in offline_runs(tmp_path / "w")} == {1}


def test_a_file_that_cannot_be_read_is_one_warning(
    tmp_path: Path, evaluation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (evaluation / "details-mbpp.jsonl").write_text("{")
    mirror(evaluation, {"torn": tracker(tmp_path)}, ())
    assert capsys.readouterr().err.count("warning: logger.torn failed") == 1
    assert not is_mirrored(evaluation, {"torn": None})


def test_an_interrupted_offline_run_is_one_run(tmp_path: Path) -> None:
    """The second attempt begins again, with all rows; the folder of the first is gone."""
    first, second = tracker(tmp_path), tracker(tmp_path)
    header = Header("mix", "train", config={"steps": 3})
    places = open_live({"wandb": first}, header, {})
    first.log({"train/loss": 2.0}, 1)
    first.close(False)
    again = open_live({"wandb": second}, header, json.loads(json.dumps(places)))
    for step, loss in ((1, 2.0), (2, 1.0)):
        second.log({"train/loss": loss}, step)
    history = [{"step": 1, "train/loss": 2.0}, {"step": 2, "train/loss": 1.0}]
    second.show(Contents(tables={"rows": pd.DataFrame({"prompt": ["a"]})}, history=history))
    second.close(True)
    [run] = offline_runs(tmp_path / "w")
    assert run.id == places["wandb"]["id"] == again["wandb"]["id"]
    assert {step: row["train/loss"] for step, row in run.history.items() if "train/loss" in row} == {1: 2.0, 2: 1.0}
    assert sum("train/loss" in row for row in run.rows) == 2  # what was followed is not logged again at the end
    assert run.tables["rows"]["prompt"].tolist() == ["a"]
    assert run.exit_code == 0


def test_a_server_that_does_not_answer_leaves_an_offline_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setattr("src.tracking.wandb_run.SECONDS", 0.2)
    monkeypatch.setattr(WandbTracker, "_unreachable", False)
    for name in ("one", "two"):
        online = WandbTracker(mode="online", save_dir=str(tmp_path / "w"))
        online.open(Header(name, "merge"))
        online.show(Contents(summary={"a": 1.5}))
        online.close(True)
    assert capsys.readouterr().err.count("warning: W&B cannot be reached") == 1
    runs = offline_runs(tmp_path / "w")
    assert sorted((run.name, run.summary["a"]) for run in runs) == [("one", 1.5), ("two", 1.5)]


def test_a_key_that_wandb_refuses_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "short")
    online = WandbTracker(mode="online", save_dir=str(tmp_path))
    with pytest.raises(UserError, match=r"logger=wandb: .*; or set WANDB_MODE=offline, or logger=csv"):
        open_live({"wandb": online}, Header("run", "train"), {})


def test_an_unknown_mode_is_one_line() -> None:
    with pytest.raises(UserError, match=r"logger\.wandb\.mode: expected one of online.*got 'onlin'"):
        WandbTracker(mode="onlin")


def test_a_tracker_that_cannot_be_opened_is_one_line() -> None:
    class Closed:
        def log_hyperparams(self, params: Mapping[str, Any]) -> None:
            raise ConnectionError("no route to host")

        log_metrics = finalize = log_hyperparams

    refused = pytest.raises(UserError, match=r"logger\.mine cannot be opened: no route to host.*logger=csv")
    with refused:
        open_live({"mine": LoggerTracker(Closed(), "mine")}, Header("run", "train"), {})


def test_what_is_no_logger_is_refused() -> None:
    with pytest.raises(UserError, match=r"logger\.mine: expected a lightning.*Logger, got builtins\.list"):
        LoggerTracker([], "mine")


def test_any_logger_gets_config_history_and_numbers(evaluation: Path) -> None:
    calls: list[Any] = []

    class Mine:
        def log_hyperparams(self, params: Mapping[str, Any]) -> None:
            calls.append(params["split"])

        def log_metrics(self, values: Mapping[str, float], step: int) -> None:
            calls.append((step, values))

        def finalize(self, status: str) -> None:
            calls.append(status)

    mirror(evaluation, {"mine": LoggerTracker(Mine(), "mine")}, ())
    split, (step, values), status = calls
    assert (split, step, status) == ("test", 0, "success")
    assert values["scores/mbpp/pass_at_1"] == 2 / 3
    assert values["scores/mbpp/pass_at_1_plus"] == 1 / 3


def test_names_of_metrics_stay_different_without_signs() -> None:
    names = ["chrf++", "pass@1", "pass@1+", "bleu4_paper", "val/a loss"]
    assert [plain_name(name) for name in names] == [
        *("chrf_plus_plus", "pass_at_1", "pass_at_1_plus", "bleu4_paper", "val/a loss"),
    ]


def test_flat_leaves_out_lists_and_nulls() -> None:
    assert dict(flat({"a": {"b": 1, "c": None}, "d": [1], "e": "x"})) == {"a/b": 1, "e": "x"}


@pytest.mark.parametrize(
    ("environment", "netrc", "mode"),
    [
        ({}, None, "offline"),
        ({"WANDB_API_KEY": "x"}, None, "online"),
        ({}, "machine api.wandb.ai login user password x", "online"),
        ({"WANDB_MODE": "disabled", "WANDB_API_KEY": "x"}, None, "disabled"),
    ],
)
def test_mode(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, environment: dict[str, str], netrc: str | None, mode: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if netrc is not None:
        (tmp_path / ".netrc").write_text(netrc)
    assert wandb_mode() == mode
