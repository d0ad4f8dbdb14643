"""Loggers: the record, its table, and trackers that mirror it: TensorBoard, trackers of src/tracking, one's own."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from lightning.pytorch.loggers import TensorBoardLogger

from src.lit_modules.loggers import CsvTable, RecordLogger, TrackerLogger
from src.utils.errors import Interrupted
from tests.lit_modules import tiny
from tests.lit_modules.fitting import Listener, run

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


class Rows:
    """Keeps the rows that it is given."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.rows.append({"step": step, **values})


def test_a_tracker_gets_every_row_of_the_record_also_of_an_interrupted_attempt(tmp_path: Path) -> None:
    def stop(row: dict[str, Any]) -> None:
        if row["step"] == 4:
            raise KeyboardInterrupt

    first, second = Rows(), Rows()
    settings = {"batches": tiny.batches(2, 4, steps=6)}
    with pytest.raises(Interrupted):
        run(tmp_path, tiny.network(), loggers=[TrackerLogger(first)], on_record=stop, **settings)
    run(tmp_path, tiny.network(), loggers=[TrackerLogger(second)], **settings)
    assert [row["step"] for row in first.rows if "train/loss" in row][:3] == [1, 2, 3]
    assert second.rows == rows(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in second.rows if "train/loss" in row] == [1, 2, 3, 4, 5, 6]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_holds_the_values_of_the_record(tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    tracker = TensorBoardLogger(tmp_path / "board", "run", "", default_hp_metric=False)
    tracker.log_hyperparams({"seed": 1, "strategy": {"steps": 4}})
    run(tmp_path / "work", tiny.network(), batches=SHORT, loggers=[tracker])
    events = reader.EventAccumulator(str(tmp_path / "board" / "run"))
    events.Reload()
    recorded = rows(tmp_path / "work" / "metrics.jsonl")
    for name in ("train/loss", "train/a/perplexity", "val/b/accuracy"):
        shown = {event.step: event.value for event in events.Scalars(name)}
        expected = {row["step"]: row[name] for row in recorded if name in row}
        assert shown == pytest.approx(expected), name
        assert all(math.isfinite(value) for value in shown.values())
