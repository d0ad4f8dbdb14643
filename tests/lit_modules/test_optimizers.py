from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import get_cosine_schedule_with_warmup

from src.lit_modules.optimizers import build_optimizer, build_schedule, rate_factor
from src.lit_modules.options import BatchOptions, CheckpointOptions, OptimizerOptions, TrainerOptions
from src.utils.errors import UserError
from tests.lit_modules import tiny


def test_schedule_by_hand() -> None:
    assert [rate_factor(step, 2, 6) for step in range(7)] == pytest.approx(
        [0, 0.5, 1, 0.853553, 0.5, 0.146447, 0], abs=1e-6
    )


def test_schedule_equals_transformers() -> None:
    rates: list[list[float]] = []
    for make in (lambda o: build_schedule(o, 100, 0.025), lambda o: get_cosine_schedule_with_warmup(o, 3, 100)):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
        schedule, seen = make(optimizer), []
        for _ in range(100):
            seen.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        rates.append(seen)
    assert rates[0] == pytest.approx(rates[1])


def test_constants_and_groups() -> None:
    network = tiny.network()
    optimizer = build_optimizer(network.parameters(), OptimizerOptions(1e-3, weight_decay=0.1))
    matrices, vectors = optimizer.param_groups
    assert (matrices["betas"], matrices["eps"], matrices["weight_decay"], vectors["weight_decay"]) == (
        (0.9, 0.999),
        1e-8,
        0.1,
        0.0,
    )
    assert {p.ndim for p in matrices["params"]} == {2}
    assert len(matrices["params"]) + len(vectors["params"]) == len(list(network.parameters()))
    assert OptimizerOptions(1e-3).weight_decay == 0.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OptimizerOptions(0.0), "optimizer.lr=0.0"),
        (lambda: OptimizerOptions(1e-3, warmup=1.0), "optimizer.warmup=1.0"),
        (lambda: TrainerOptions(accelerator="cpus"), "unknown trainer.accelerator 'cpus', did you mean 'cpu'"),
        (lambda: TrainerOptions(precision="bf16"), "unknown trainer.precision 'bf16'.*bf16-mixed"),
        (lambda: BatchOptions(1, 1, 64), "give steps or epochs"),
        (lambda: BatchOptions(1, 1, 64, steps=1, epochs=1), "give steps or epochs"),
        (lambda: BatchOptions(0, 1, 64, steps=1), "micro_batch=0"),
        (lambda: CheckpointOptions(select="first"), "unknown checkpoint.select"),
        (lambda: CheckpointOptions(keep=0), "checkpoint.keep=0"),
    ],
)
def test_bad_settings(make: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()
