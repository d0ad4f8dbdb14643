"""Loggers: the table of `logger=csv`, and what `logger=wandb` leaves on disk without a key."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pandas as pd
import pytest

from src.reporting.loggers import CsvLogger, WandbLogger, series, started, wandb_mode
from src.utils.errors import UserError
from tests.reporting.offline_wandb import offline_runs

ROWS = [
    {"step": 1, "split": "train", "loss": 2.5, "loss_a": 2.0},
    {"step": 2, "split": "train", "loss": 1.5, "loss_a": 1.0},
    {"step": 2, "split": "validation", "task": "a", "loss": 1.25},
    {"step": 2, "split": "validation", "task": "all", "loss": 1.75},
    {"step": 2, "split": "weights", "l2/layers.0": 0.5},
]


@pytest.fixture
def metrics(tmp_path: Path) -> Path:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def test_the_table_holds_every_row(tmp_path: Path, metrics: Path) -> None:
    logger = CsvLogger()
    logger.start("run", {}, tmp_path)
    logger.finish(metrics, {})
    table = pd.read_csv(tmp_path / "metrics.csv")
    assert table["loss"].tolist()[:4] == [2.5, 1.5, 1.25, 1.75]
    assert table["l2/layers.0"].tolist()[4] == 0.5


def test_series_of_one_step_do_not_overwrite_each_other() -> None:
    together = [series(row) for row in ROWS if row["step"] == 2]
    assert together == [
        {"train/loss": 1.5, "train/loss_a": 1.0},
        {"validation/a/loss": 1.25},
        {"validation/all/loss": 1.75},
        {"weights/l2/layers.0": 0.5},
    ]


@pytest.mark.filterwarnings("ignore")
def test_offline_runs_hold_config_history_and_summary(
    tmp_path: Path, metrics: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    for number, ends_well in ((0, True), (1, False)):
        logger = WandbLogger("study", None, "sweep", str(tmp_path / "offline"))
        (tmp_path / f"work{number}").mkdir()
        with contextlib.suppress(ValueError):
            with started(logger, f"run{number}", {"seed": number}, tmp_path / f"work{number}"):
                for row in ROWS:
                    logger.record(row)
                if not ends_well:
                    raise ValueError
            logger.finish(metrics, {"steps": 2})
    good, bad = offline_runs(tmp_path / "offline")
    assert (good.name, good.config["seed"], good.exit_code) == ("run0", 0, 0)
    assert good.history[1]["train/loss"] == 2.5
    wanted = {name: value for row in ROWS if row["step"] == 2 for name, value in series(row).items()}
    assert {name: good.history[2][name] for name in wanted} == wanted
    assert good.summary["steps"] == 2
    assert (bad.name, bad.config["seed"], bad.exit_code) == ("run1", 1, 1)
    assert good.id != bad.id


@pytest.mark.filterwarnings("ignore")
def test_a_key_that_wandb_refuses_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "short")
    with pytest.raises(UserError, match=r"logger=wandb: .*; or set WANDB_MODE=offline, or logger=csv"):
        WandbLogger("study", None, None, str(tmp_path)).start("run", {}, tmp_path)


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
