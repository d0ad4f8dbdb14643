"""Settings that are left to the machine are decided by its memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from src.lit_modules.memory import GIB
from src.lit_modules.world import World
from src.models import ModelSpec
from src.stages.build import build
from src.stages.job import compose_job
from src.stages.train.network import for_this_machine
from src.stages.train.options import TrainingOptions
from src.utils.errors import UserError


@pytest.fixture
def decided(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return lines of a micro-batch, and whether activations are recomputed, on GPUs of the given size."""

    def decide(gib: int, ranks: int, *overrides: str) -> tuple[int, bool | None]:
        monkeypatch.setattr("src.stages.train.network.device_memory", lambda gpu: float(gib * GIB))
        cfg = compose_job("train", ["strategy=mix", *overrides]).cfg
        model: ModelSpec = build(cfg.model)
        if cfg.model.name == "pocket":
            model = replace(model, gradient_checkpointing=None)
        fit = TrainingOptions.of(cfg, model).fit
        model, fit = for_this_machine(model, None, fit, World(ranks, 1))
        return fit.batches.micro_batch, model.gradient_checkpointing

    return decide


@pytest.mark.parametrize(
    ("gib", "ranks", "overrides", "lines", "recomputed"),
    [
        (140, 1, ["model=qwen1.5b"], 4, False),
        (80, 1, ["model=qwen1.5b"], 2, False),
        (80, 1, ["model=qwen1.5b", "strategy.micro_batch=2"], 2, False),
        (140, 1, ["model=qwen1.5b", "model.gradient_checkpointing=true"], 4, True),
        (140, 1, ["model=qwen7b", "optimizer=adamw8bit"], 1, False),
        (80, 1, ["model=qwen7b", "optimizer=paged_adamw8bit"], 4, True),
        (140, 8, ["model=qwen7b"], 4, False),
        (80, 8, ["model=qwen7b"], 2, False),
        (80, 8, ["model=qwen7b", "model.gradient_checkpointing=true"], 4, True),
        (80, 1, [], 8, True),  # of a model that is not known yet the safe way
    ],
)
def test_activations_are_recomputed_where_they_do_not_fit(
    decided: Any, gib: int, ranks: int, overrides: list[str], lines: int, recomputed: bool
) -> None:
    assert decided(gib, ranks, *overrides) == (lines, recomputed)


@pytest.mark.parametrize(
    ("gib", "nodes", "overrides", "mesh", "reduce"),
    [
        (180, 1, [], "full", "last"),
        (80, 1, [], "full", "every"),  # two lines without recomputation leave no room for whole gradients
        (180, 2, [], "hybrid", "last"),
        (180, 2, ["trainer.mesh=full", "trainer.reduce=every"], "full", "every"),
        (35, 2, ["model.gradient_checkpointing=true"], "hybrid", "every"),
        (20, 2, ["model.gradient_checkpointing=true", "strategy.micro_batch=1"], "full", "every"),
    ],
)
def test_weights_are_divided_within_a_node_where_they_fit(
    monkeypatch: pytest.MonkeyPatch, gib: int, nodes: int, overrides: list[str], mesh: str, reduce: str
) -> None:
    """7B on nodes of eight."""
    monkeypatch.setattr("src.stages.train.network.device_memory", lambda gpu: float(gib * GIB))
    cfg = compose_job("train", ["strategy=mix", "model=qwen7b", *overrides]).cfg
    model: ModelSpec = build(cfg.model)
    _, chosen = for_this_machine(model, None, TrainingOptions.of(cfg, model).fit, World(8, nodes))
    assert (chosen.trainer.mesh, chosen.trainer.reduce) == (mesh, reduce)


def test_what_is_named_is_not_decided_otherwise(decided: Any) -> None:
    with pytest.raises(
        UserError, match=r"would fit: strategy.micro_batch=1 \(\d+ GiB\), .*model.gradient_checkpointing=true \(\d+"
    ):
        decided(80, 1, "model=qwen1.5b", "model.gradient_checkpointing=false")
