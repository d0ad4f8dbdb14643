from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from src.models import ModelSpec, Recipe, torch_dtype
from src.utils.errors import UserError

RECIPE = Recipe(learning_rate=1e-5, max_length=64, micro_batch=1, batch_size=1, epochs=1)
SPEC = ModelSpec("m", "real", "org/name", RECIPE, context_length=64)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": "pockets"}, "unknown model.data 'pockets', did you mean 'pocket'"),
        ({"dtype": "bf16"}, "unknown model.dtype 'bf16'.*bfloat16"),
        ({"init": "zeros"}, "unknown model.init"),
        ({"adapter": "rank"}, "unknown model.adapter 'rank'.*lora, qlora"),
        (
            {"path": None, "shrink": True},
            "debug=shrink and model.init=random are for published models; m is trained here",
        ),
    ],
)
def test_bad_specs(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        dataclasses.replace(SPEC, **changes)


def test_rows_longer_than_the_context() -> None:
    SPEC.require_fitting(64)
    with pytest.raises(UserError, match=r"strategy.max_length=65 is longer than the context of m.*context_length=64"):
        SPEC.require_fitting(65)


def test_what_is_drawn() -> None:
    assert not SPEC.is_drawn
    assert dataclasses.replace(SPEC, shrink=True).is_drawn
    assert dataclasses.replace(SPEC, init="random").is_drawn


def test_dtypes() -> None:
    assert torch_dtype("bfloat16") is torch.bfloat16
    with pytest.raises(UserError, match=r"unknown dtype 'half'.*float16"):
        torch_dtype("half")
