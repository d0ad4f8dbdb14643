"""Speed and memory of every step (conf/callbacks/throughput.yaml)."""

from __future__ import annotations

import contextlib
import re
import resource
from pathlib import Path
from typing import Any

import lightning as L
import torch

from src.data.collate import Batch
from src.lit_modules.callbacks.cost import CostMeter
from src.lit_modules.flops import StepFlops, measured_peak
from src.lit_modules.loggers import log_values

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")  # "5" resets the peak of the resident memory


class Throughput(L.Callback):
    """Log tokens per second, padding, peak memory and, on a GPU, MFU.

    MFU is relative to the rate that this GPU reaches on large matrix products, which takes about a second to measure.
    """

    def __init__(self) -> None:
        self._step_flops: StepFlops | None = None
        self._peak_flops = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure the GPU's peak rate, and count memory from here on: a sweep's runs share one process."""
        reset_peak_memory(pl_module.device)
        if pl_module.device.type == "cuda":
            self._step_flops = StepFlops.of(pl_module.network)  # type: ignore[arg-type]
            self._peak_flops = measured_peak(pl_module.product_dtype)  # type: ignore[arg-type]

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Log the rates of the step."""
        meter = CostMeter.of(trainer)
        seconds = max(meter.step_seconds, 1e-9)
        values = {
            "tokens_per_second": batch["tokens"] / seconds,
            "answer_tokens_per_second": batch["answer_tokens"] / seconds,
            "padding_share": 1 - meter.cost.tokens / max(1, meter.cost.padded_tokens),  # of the run so far
            "peak_memory_gib": peak_memory(pl_module.device) / 2**30,
        }
        if self._step_flops is not None:
            values["mfu"] = self._step_flops(batch) / seconds / (self._peak_flops * trainer.world_size)
        log_values(trainer, {f"throughput/{name}": value for name, value in values.items()})


def peak_memory(device: torch.device) -> int:
    """Peak memory in bytes since `reset_peak_memory`: of the GPU, or of this process for a run on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with contextlib.suppress(OSError):  # getrusage's peak cannot be reset
        found = re.search(r"^VmHWM:\s+(\d+) kB", STATUS.read_text(), re.MULTILINE)
        if found is not None:
            return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def reset_peak_memory(device: torch.device) -> None:
    """Let `peak_memory` count from the memory in use now; outside Linux it counts from the start of the process."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):
        RESET.write_text("5")
