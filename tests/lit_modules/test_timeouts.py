"""The limits that a gloo group of one process gets."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed

from src.lit_modules.callbacks.timeouts import STEP_PATIENCE, CollectiveTimeouts
from src.lit_modules.world import PATIENCE
from tests.lit_modules import tiny


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[timedelta]]:
    found: list[timedelta] = []
    monkeypatch.setattr("src.lit_modules.callbacks.timeouts._set_pg_timeout", lambda limit, group: found.append(limit))
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield found
    torch.distributed.destroy_process_group()


def test_steps_wait_for_minutes_and_the_rest_for_hours(limits: list[timedelta]) -> None:
    callback, module = CollectiveTimeouts(), tiny.network()
    trainer: Any = SimpleNamespace()
    for step in range(3):
        callback.on_train_batch_end(trainer, module, None, None, step)  # type: ignore[arg-type]
    assert limits == [STEP_PATIENCE]
    callback.on_train_end(trainer, module)  # type: ignore[arg-type]
    callback.on_exception(trainer, module, ValueError())  # type: ignore[arg-type]
    assert limits == [STEP_PATIENCE, PATIENCE, PATIENCE]


def test_nothing_is_done_for_a_single_process() -> None:
    CollectiveTimeouts().on_train_end(SimpleNamespace(), tiny.network())  # type: ignore[arg-type]
