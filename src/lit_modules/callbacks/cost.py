"""Tokens and seconds of a run, accumulated over restarts."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import lightning as L
import torch

from src.data.collate import Batch


@dataclass
class Cost:
    """Resources consumed by training, over all ranks.

    Args:
        steps: Optimizer steps.
        answer_tokens: Tokens with loss.
        tokens: Tokens of prompts and answers.
        padded_tokens: The same with padding.
        seconds: Wall time inside training steps, without validation and saving.
    """

    steps: int = 0
    answer_tokens: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    seconds: float = 0.0


class CostMeter(L.Callback):
    """Add up the cost of the steps; `start_clock` marks the start of a step.

    It must be the first callback, so that the time other callbacks take after a step is not counted.

    Attributes:
        cost: The sums so far.
        step_seconds: Wall time of the last step.
    """

    def __init__(self) -> None:
        self.cost = Cost()
        self.step_seconds = 0.0
        self.started = 0.0

    @classmethod
    def of(cls, trainer: L.Trainer) -> CostMeter:
        """The meter of a run, for callbacks that report rates."""
        return next(callback for callback in trainer.callbacks if isinstance(callback, cls))  # type: ignore[attr-defined]

    def start_clock(self) -> L.Callback:
        """The callback that starts the clock; it must be the last one, since others save and measure before a step."""
        return _StartClock(self)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Add a step."""
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize()  # the step ends when its kernels have finished
        self.step_seconds = time.perf_counter() - self.started
        self.cost.steps += 1
        self.cost.seconds += self.step_seconds
        self.cost.answer_tokens += batch["answer_tokens"]
        self.cost.tokens += batch["tokens"]
        self.cost.padded_tokens += batch["padded"]

    def state_dict(self) -> dict[str, Any]:
        """The sums so far."""
        return asdict(self.cost)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from the sums in a checkpoint."""
        self.cost = Cost(**state_dict)


class _StartClock(L.Callback):
    def __init__(self, meter: CostMeter) -> None:
        self.meter = meter

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        self.meter.started = time.perf_counter()
