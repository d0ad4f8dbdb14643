from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import get_cosine_schedule_with_warmup

from src.data.budget import Budget
from src.lit_modules.callbacks.generation_score import GenerationScore
from src.lit_modules.callbacks.gradient_cosine import GradientCosine
from src.lit_modules.callbacks.weight_delta import WeightDelta
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
        (lambda: OptimizerOptions(0.0), "optimizer.lr must be above 0, got 0.0"),
        (lambda: OptimizerOptions(1e-3, warmup=1.0), "optimizer.warmup must be below 1, got 1.0"),
        (lambda: TrainerOptions(accelerator="cpus"), "unknown trainer.accelerator 'cpus', did you mean 'cpu'"),
        (lambda: TrainerOptions(precision="bf16"), "unknown trainer.precision 'bf16'.*bf16-mixed"),
        (lambda: TrainerOptions(devices=0), "trainer.devices must be at least 1 or 'auto', got 0"),
        (lambda: BatchOptions(Budget(batch_size=1, steps=1), 0, 64), "strategy.micro_batch must be at least 1, got 0"),
        (lambda: BatchOptions(Budget(batch_size=1, steps=1), 1, 0), "strategy.max_length must be at least 1, got 0"),
        (lambda: OptimizerOptions(1e-3, kind="adam8bit"), "unknown optimizer.kind 'adam8bit', did you mean"),
        (lambda: CheckpointOptions(select="first"), "unknown checkpoint.select"),
        (lambda: CheckpointOptions(keep=0), "checkpoint.keep must be at least 1, got 0"),
        (lambda: CheckpointOptions(every_steps=0), "checkpoint.every_steps must be at least 1, got 0"),
        (lambda: CheckpointOptions(select="best"), "checkpoint.select=best needs checkpoint.validate_every"),
        (lambda: CheckpointOptions(patience=2), "checkpoint.patience=2 .* set checkpoint.select=best"),
        (lambda: CheckpointOptions(min_delta=0.1), "checkpoint.min_delta=0.1 needs checkpoint.patience"),
        (lambda: WeightDelta(0), "callbacks.weight_delta.every_steps must be at least 1, got 0"),
        (lambda: WeightDelta(1, {"a": "/nowhere"}), "callbacks.weight_delta.specialists.a=/nowhere"),
        (lambda: GenerationScore(1, problems=0), "callbacks.generate.problems must be at least 1, got 0"),
        (lambda: GradientCosine(1, rows=0), "callbacks.gradient_cosine.rows must be at least 1, got 0"),
    ],
)
def test_bad_settings(make: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


@pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU")
def test_moments_of_a_checkpoint_are_paged_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages themselves need a GPU: their place is taken by ordinary memory here."""
    made: list[Any] = []
    weights, states, pages = [], [], []
    for _ in range(2):
        torch.manual_seed(0)
        weights.append(torch.nn.Parameter(torch.randn(64, 128)))
        made.append(build_optimizer([weights[-1]], OptimizerOptions(1e-2, kind="paged_adamw8bit")))
    for step in range(4):
        if step == 2:
            made[1].load_state_dict(made[0].state_dict())
            weights[1].data.copy_(weights[0].data)
            monkeypatch.setattr(
                made[1],
                "get_state_buffer",
                lambda p, dtype: pages.append(torch.zeros_like(p, dtype=dtype)) or pages[-1],
            )
        for weight, optimizer in zip(weights, made, strict=True):
            weight.grad = weight.detach().clone()
            optimizer.step()
    states = [optimizer.state[weight] for weight, optimizer in zip(weights, made, strict=True)]
    assert {id(states[1][name]) for name in ("state1", "state2")} == {id(page) for page in pages}
    assert len(pages) == 2
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(states[0]["state1"], states[1]["state1"])


def test_moments_of_embeddings_stay_in_32_bits() -> None:
    """As transformers does it; and the next optimizer of the process does not inherit it."""
    kinds = []
    for exceptions in (True, False):
        weights = [torch.nn.Parameter(torch.randn(64, 128)) for _ in range(2)]
        options = OptimizerOptions(1e-2, kind="adamw8bit")
        optimizer = build_optimizer(weights, options, weights[:1] if exceptions else ())
        for weight in weights:
            weight.grad = weight.detach().clone()
        optimizer.step()
        kinds.append([optimizer.state[weight]["state1"].dtype for weight in weights])
    assert kinds == [[torch.float32, torch.uint8], [torch.uint8, torch.uint8]]


def test_eight_bit_moments_are_near_the_exact_ones() -> None:
    """On CPU and GPU alike: after 20 steps on a quadratic the weights agree to a twentieth of what they moved."""
    found = {}
    for kind in ("adamw", "adamw8bit"):
        torch.manual_seed(0)
        weight = torch.nn.Parameter(torch.randn(64, 128))
        target, start = torch.randn(64, 128), weight.detach().clone()
        optimizer = build_optimizer([weight], OptimizerOptions(1e-2, kind=kind))
        for _ in range(20):
            ((weight - target) ** 2).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        found[kind] = weight.detach() - start
    difference = (found["adamw8bit"] - found["adamw"]).norm() / found["adamw"].norm()
    assert 0 < difference < 0.05
