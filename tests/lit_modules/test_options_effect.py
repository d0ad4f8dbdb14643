"""No setting is read and ignored: each one changes the weights of the same short run, or says why it cannot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from src.lit_modules.options import CheckpointOptions, OptimizerOptions, TrainerOptions
from tests.lit_modules import tiny
from tests.lit_modules.fitting import run

PLAIN = OptimizerOptions(1e-2, warmup=0.25)
ROWS = {"a": tiny.rows("a", 12)}


def weights(place: Path, optimizer: OptimizerOptions = PLAIN, **changes: Any) -> torch.Tensor:
    network = tiny.network(width=128)  # 8-bit moments need tensors of 4096 elements
    run(place, network, train=ROWS, validation={}, optimizer=optimizer, checkpoints=CheckpointOptions(),
        **{"batches": tiny.batches(4, 4, steps=8), **changes})  # fmt: skip
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> torch.Tensor:
    return weights(tmp_path_factory.mktemp("plain"))


def test_the_same_settings_give_the_same_weights(plain: torch.Tensor, tmp_path: Path) -> None:
    assert torch.equal(weights(tmp_path), plain)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lr", 2e-2),
        ("betas", (0.8, 0.999)),
        ("betas", (0.9, 0.9)),
        ("eps", 1e-2),
        ("weight_decay", 0.1),
        ("clip_norm", 0.01),
        ("warmup", 0.0),
        ("kind", "adamw8bit"),
    ],
)
def test_optimizer(plain: torch.Tensor, tmp_path: Path, name: str, value: Any) -> None:
    changed = weights(tmp_path, replace(PLAIN, **{name: value}))
    assert (changed - plain).abs().max() > 1e-6


def test_half_precision_keeps_float32_weights(plain: torch.Tensor, tmp_path: Path) -> None:
    changed = weights(tmp_path, trainer=TrainerOptions(precision="bf16-mixed"))
    assert changed.dtype == torch.float32
    assert 1e-6 < (changed - plain).abs().max() < 0.1


@pytest.mark.parametrize("changes", [{"seed": 1}, {"batches": tiny.batches(4, 8, steps=8)}])
def test_order_and_size_of_steps(plain: torch.Tensor, tmp_path: Path, changes: dict[str, Any]) -> None:
    assert not torch.equal(weights(tmp_path, **changes), plain)
