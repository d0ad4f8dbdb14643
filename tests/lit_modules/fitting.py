"""Short runs of `fit`, and what they leave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from src.lit_modules.fit import FitResult, fit
from src.lit_modules.options import CheckpointOptions, OptimizerOptions, WatchOptions
from src.lit_modules.watch import Watched
from tests.lit_modules import tiny
from tests.lit_modules.test_weight_delta import Held

TRAIN = {"a": tiny.rows("a", 9), "b": tiny.rows("b", 5, length=3)}
HELD_OUT = {"a": tiny.rows("held", 5), "b": tiny.rows("out", 3)}
TIMES = ("tokens_per_second", "answer_tokens_per_second", "peak_memory_gib")


def run(work_dir: Path, network: torch.nn.Module, **changes: Any) -> FitResult:
    settings: dict[str, Any] = {
        "optimizer": OptimizerOptions(3e-3),
        "batches": tiny.batches(2, 4, epochs=5),
        "checkpoints": CheckpointOptions(every_steps=3, validate_every=6),
    }
    data = {
        "train": TRAIN,
        "validation": HELD_OUT,
        **{k: changes.pop(k) for k in ("train", "validation") if k in changes},
    }
    tables = {split: tiny.tables(rows) for split, rows in data.items()}
    return fit(network, **tables, pad_token=tiny.PAD, work_dir=work_dir, **{**settings, **changes})  # type: ignore[arg-type]


def metrics(work_dir: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (work_dir / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


def assert_equal_weights(one: torch.nn.Module, other: torch.nn.Module) -> None:
    for (name, left), (_, right) in zip(one.state_dict().items(), other.state_dict().items(), strict=True):
        assert torch.equal(left, right), name


def noisy(seed: int = 0) -> torch.nn.Module:
    """With dropout, so that a step depends on the state of the random stream."""
    network = tiny.network(seed)
    for layer in network.model.layers:
        layer.self_attn.attention_dropout = 0.2
    return network


def watched(network: torch.nn.Module) -> Watched:
    """Everything is measured, some of it before a step and some after it."""
    base = Held({name: value.detach().clone() for name, value in network.state_dict().items()})
    return Watched(WatchOptions(weight_delta=3, gradient_cosine=2), base)
