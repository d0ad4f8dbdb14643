"""Short runs of `fit`, and what they leave."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.loggers import Logger

from src.checkpoints import Checkpoint, write_checkpoint
from src.lit_modules.callbacks.gradient_cosine import GradientCosine
from src.lit_modules.callbacks.throughput import Throughput
from src.lit_modules.callbacks.weight_delta import WeightDelta
from src.lit_modules.datamodule import TrainingRows
from src.lit_modules.fit import FitResult, fit
from src.lit_modules.options import CheckpointOptions, FitOptions, OptimizerOptions
from tests.lit_modules import tiny

TRAIN = {"a": tiny.rows("a", 9), "b": tiny.rows("b", 5, length=3)}
HELD_OUT = {"a": tiny.rows("held", 5), "b": tiny.rows("out", 3)}
FIT = {field.name for field in fields(FitOptions)}


class Listener(Logger):
    """Hands each row to a function."""

    name, version = "listener", ""

    def __init__(self, on_record: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        self.on_record = on_record

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.on_record({"step": step, **metrics})

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing to keep."""


def run(work_dir: Path, network: torch.nn.Module, **changes: Any) -> FitResult:
    """A short run; `changes` are fields of FitOptions, arguments of `fit`, rows by split, or `on_record`."""
    settings: dict[str, Any] = {
        "optimizer": OptimizerOptions(3e-3),
        "batches": tiny.batches(2, 4, epochs=5),
        "checkpoints": CheckpointOptions(every_steps=3, validate_every=6),
    }
    settings |= {name: changes.pop(name) for name in FIT & set(changes)}
    tables = [tiny.tables(changes.pop(split, rows)) for split, rows in (("train", TRAIN), ("validation", HELD_OUT))]
    if (on_record := changes.pop("on_record", None)) is not None:
        changes["loggers"] = [*changes.get("loggers", []), Listener(on_record)]
    return fit(network, TrainingRows(*tables, tiny.PAD), FitOptions(**settings), work_dir, **changes)  # type: ignore[arg-type]


def metrics(work_dir: Path) -> list[dict[str, Any]]:
    """Rows of the record without rates, which differ from run to run."""
    rows = [json.loads(line) for line in (work_dir / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if not any(name.startswith("throughput/") for name in row)]


def values(work_dir: Path, name: str) -> dict[int, float]:
    """A value by step."""
    return {row["step"]: row[name] for row in metrics(work_dir) if name in row}


def assert_equal_weights(one: torch.nn.Module, other: torch.nn.Module) -> None:
    for (name, left), (_, right) in zip(one.state_dict().items(), other.state_dict().items(), strict=True):
        assert torch.equal(left, right), name


def noisy(seed: int = 0) -> torch.nn.Module:
    """With dropout, so that a step depends on the state of the random stream."""
    network = tiny.network(seed)
    for layer in network.model.layers:
        layer.self_attn.attention_dropout = 0.2
    return network


def held(network: torch.nn.Module, place: Path) -> Checkpoint:
    """The weights of a network as a checkpoint."""
    write_checkpoint(place, {name: value.detach().clone() for name, value in network.state_dict().items()})
    return Checkpoint(place)


def measured(network: torch.nn.Module, place: Path) -> dict[str, Any]:
    """Everything is measured, some of it before a step and some after it."""
    return {"base": held(network, place), "callbacks": [Throughput(), WeightDelta(3), GradientCosine(2)]}
