"""Tokens, seconds and memory of a run, carried over restarts."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import lightning as L
import torch

from src.data.collate import Batch


@dataclass(frozen=True)
class Step:
    """What one step consumed, over all ranks."""

    tokens: int
    answer_tokens: int
    flops: float


@dataclass
class Cost:
    """What training consumed, over all ranks.

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


class Throughput(L.Callback):
    """Adds up the cost of the steps; a step starts when `start_clock` says so.

    Args:
        step_flops: Gives the floating point operations of a step, for MFU; None: no MFU.
        peak_flops: Floating point operations a second that one device reaches on dense matrix products.
    """

    def __init__(self, step_flops: Callable[[Batch], float] | None = None, peak_flops: float | None = None) -> None:
        self.cost = Cost()
        self.step_flops, self.peak_flops = step_flops, peak_flops
        self._step_seconds, self._step, self._devices = 0.0, Step(0, 0, 0.0), 1
        self.started = 0.0

    def start_clock(self) -> L.Callback:
        """The callback that starts the clock: the last of all, since others save and measure before a step."""
        return _StartClock(self)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Adds a step."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # the step is over when its kernels are
        self._step_seconds, self._devices = time.perf_counter() - self.started, trainer.world_size
        flops = self.step_flops(batch) if self.step_flops is not None else 0.0
        self._step = Step(batch["tokens"], batch["answer_tokens"], flops)
        self.cost.steps += 1
        self.cost.seconds += self._step_seconds
        self.cost.answer_tokens += batch["answer_tokens"]
        self.cost.tokens += batch["tokens"]
        self.cost.padded_tokens += batch["padded"]

    def last_step(self) -> dict[str, float]:
        """Rates of the last step: tokens a second, share of padding so far, peak memory in GiB, and MFU if known."""
        seconds = max(self._step_seconds, 1e-9)
        row = {
            "tokens_per_second": self._step.tokens / seconds,
            "answer_tokens_per_second": self._step.answer_tokens / seconds,
            "padding_share": 1 - self.cost.tokens / max(1, self.cost.padded_tokens),
            "peak_memory_gib": peak_memory() / 2**30,
        }
        if self.step_flops is not None and self.peak_flops:
            row["mfu"] = self._step.flops / seconds / (self.peak_flops * self._devices)
        return row

    def state_dict(self) -> dict[str, Any]:
        """The sums so far."""
        return asdict(self.cost)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from the sums of a checkpoint."""
        self.cost = Cost(**state_dict)


class _StartClock(L.Callback):
    def __init__(self, throughput: Throughput) -> None:
        self.throughput = throughput

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        self.throughput.started = time.perf_counter()


def peak_memory() -> int:
    """Most bytes held at once: of the GPU where there is one, else of the process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
