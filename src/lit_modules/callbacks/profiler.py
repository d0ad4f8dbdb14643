"""A trace of a few steps with torch.profiler (conf/callbacks/profiler.yaml)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch.profiler import ProfilerActivity, profile, schedule

from src.lit_modules.options import require_positive
from src.utils.progress import say
from src.utils.ranks import is_main_process

KEY = "callbacks.profiler"
ROWS = 40  # of the table


class Profiler(L.Callback):
    """Profile some steps of the first rank, after those in which kernels are chosen and memory is reserved.

    It leaves `trace.json`, for chrome://tracing or ui.perfetto.dev, and `operators.txt`, the operators by time.

    Args:
        directory: Directory of both files.
        skip: Steps before the profiler is switched on; it then warms up for one more.
        steps: Steps in the trace.

    Raises:
        UserError: `steps` is below 1.
    """

    def __init__(self, directory: str, skip: int = 3, steps: int = 2) -> None:
        require_positive(steps, f"{KEY}.steps")
        self.directory, self.skip, self.steps = Path(directory), skip, steps
        self._profile: Any = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Prepare the profiler."""
        if not is_main_process():
            return
        kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if pl_module.device.type == "cuda" else [])]
        phases = schedule(wait=self.skip, warmup=1, active=self.steps, repeat=1)
        self._profile = profile(activities=kinds, schedule=phases, on_trace_ready=self._write, record_shapes=True)
        self._profile.start()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count a step."""
        if self._profile is not None:
            self._profile.step()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Switch it off; a run with too few steps leaves a shorter trace, or none."""
        self._stop()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Switch it off."""
        self._stop()

    def _stop(self) -> None:
        if self._profile is not None:
            self._profile.stop()
            self._profile = None

    def _write(self, found: Any) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        found.export_chrome_trace(str(self.directory / "trace.json"))
        by = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        table = found.key_averages().table(sort_by=by, row_limit=ROWS)
        (self.directory / "operators.txt").write_text(table, encoding="utf-8")
        say(f"profile of {self.steps} steps: {self.directory}")
