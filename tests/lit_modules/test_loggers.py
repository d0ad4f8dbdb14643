"""Loggers: the record, its table, and trackers that mirror it: W&B without a key, TensorBoard, one's own."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from lightning.pytorch.loggers import TensorBoardLogger

from src.lit_modules.loggers import CsvTable, RecordLogger, WandbLogger, opened, wandb_mode
from src.utils.errors import UserError
from tests.lit_modules import tiny
from tests.lit_modules.fitting import Listener, run
from tests.lit_modules.offline_wandb import offline_runs

ROWS: list[tuple[int, dict[str, float]]] = [
    (1, {"train/loss": 2.5, "train/a/loss": 2.0}),
    (2, {"train/loss": 1.5, "train/a/loss": 1.0}),
    (2, {"val/a/loss": 1.25, "val/all/loss": 1.75}),
    (2, {"weights/l2/layers.0": 0.5}),
    (2, {"gradients/norm_a": 0.25}),
]
SHORT = tiny.batches(2, 4, steps=4)


@pytest.fixture
def record(tmp_path: Path) -> RecordLogger:
    logger = RecordLogger(tmp_path / "metrics.jsonl")
    for step, row in ROWS:
        logger.log_metrics(row, step)
    return logger


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_record_has_a_row_per_call(record: RecordLogger) -> None:
    assert rows(record.path) == [{"step": step, **row} for step, row in ROWS]


def test_a_rewound_record_keeps_what_is_not_done_again(record: RecordLogger) -> None:
    """Gradients of step 2 are measured again before step 3; a torn line goes."""
    with record.path.open("a") as file:
        file.write('{"step": 2, "val')
    record.rewind(2)
    assert rows(record.path) == [{"step": step, **row} for step, row in ROWS[:4]]
    record.rewind(1)
    assert [row["step"] for row in rows(record.path)] == [1]


def test_the_table_holds_every_row(tmp_path: Path, record: RecordLogger) -> None:
    CsvTable(str(record.path), str(tmp_path / "metrics.csv")).finalize("success")
    table = pd.read_csv(tmp_path / "metrics.csv")
    assert table["train/loss"].tolist()[:2] == [2.5, 1.5]
    assert table["step"].tolist() == [1, 2, 2, 2, 2]
    assert table["weights/l2/layers.0"].tolist()[3] == 0.5


@pytest.mark.filterwarnings("ignore")
def test_offline_runs_hold_config_history_and_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    for number in (0, 1):
        logger = WandbLogger(f"run{number}", f"id{number}", "study", None, "sweep", str(tmp_path / "offline"))
        results: dict[str, Any] = {}
        try:
            with opened([logger], {"seed": number}, results):
                for step, row in ROWS:
                    logger.log_metrics(row, step)
                results["steps"] = 2
                if number == 1:
                    raise ValueError
        except ValueError:
            pass
    good, bad = offline_runs(tmp_path / "offline")
    assert (good.name, good.config["seed"], good.exit_code) == ("run0", 0, 0)
    assert good.history[1]["train/loss"] == 2.5
    wanted = {name: value for step, row in ROWS if step == 2 for name, value in row.items()}
    assert {name: good.history[2][name] for name in wanted} == wanted
    assert good.summary["steps"] == 2
    assert (bad.name, bad.config["seed"], bad.exit_code) == ("run1", 1, 1)
    assert good.id != bad.id


@pytest.mark.filterwarnings("ignore")
def test_a_key_that_wandb_refuses_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "short")
    logger = WandbLogger("run", "id", "study", save_dir=str(tmp_path))
    refused = pytest.raises(UserError, match=r"logger=wandb: .*; or set WANDB_MODE=offline, or logger=csv")
    with refused, opened([logger], {}, {}):
        pytest.fail("the run must not start")


class Down(Listener):
    """A tracker whose server goes away at step 2."""

    def __init__(self) -> None:
        super().__init__(lambda row: calls.append(row["step"]))
        calls: list[int] = []
        self.calls = calls

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        super().log_metrics(metrics, step)
        if step == 2:
            raise ConnectionError("no route to host")


def test_a_tracker_that_is_down_does_not_end_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One warning; the record and the other trackers go on."""
    down, seen = Down(), list[int]()
    loggers = [down, Listener(lambda row: seen.append(row["step"]))]
    run(tmp_path, tiny.network(), batches=SHORT, loggers=loggers)
    assert down.calls == [1, 2]
    assert seen == [row["step"] for row in rows(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4, 4]
    said = capsys.readouterr().err
    assert said.count("warning: Down failed (no route to host)") == 1


def test_a_tracker_that_cannot_be_opened_is_one_line() -> None:
    class Closed(Listener):
        def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
            raise ConnectionError("no route to host")

    refused = pytest.raises(UserError, match=r"Closed cannot be opened: no route to host.*logger=csv")
    with refused, opened([Closed(lambda row: None)], {}, {}):
        pytest.fail("the run must not start")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_holds_the_values_of_the_record(tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    tracker = TensorBoardLogger(tmp_path / "board", "run", "", default_hp_metric=False)
    with opened([tracker], {"seed": 1, "strategy": {"steps": 4}}, {}):
        run(tmp_path / "work", tiny.network(), batches=SHORT, loggers=[tracker])
    events = reader.EventAccumulator(str(tmp_path / "board" / "run"))
    events.Reload()
    recorded = rows(tmp_path / "work" / "metrics.jsonl")
    for name in ("train/loss", "train/a/perplexity", "val/b/accuracy"):
        shown = {event.step: event.value for event in events.Scalars(name)}
        expected = {row["step"]: row[name] for row in recorded if name in row}
        assert shown == pytest.approx(expected), name
        assert all(math.isfinite(value) for value in shown.values())


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
