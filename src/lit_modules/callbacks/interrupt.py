"""Graceful stop of a run on Ctrl-C, `kill`, a closed terminal, or Slurm's signal before its time limit."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import lightning as L

from src.lit_modules.callbacks.checkpoint import ResumeCheckpoints
from src.utils.errors import Interrupted
from src.utils.ranks import is_main_process
from src.utils.signals import TERMINATE, Handlers

SAME_REQUEST = 1.0  # seconds; Ctrl-C and cluster managers signal a process and its launcher, which forwards the signal
SAID = b"\nstopping once this step is done and saved; press Ctrl-C again to stop at once\n"


class StopWhenAsked(L.Callback):
    """Finish the step, save, and raise `Interrupted` on all ranks; a second request ends the process at once.

    Args:
        saver: Saves the run.
    """

    def __init__(self, saver: ResumeCheckpoints) -> None:
        self.saver = saver
        self._handlers = Handlers(self._ask)
        self._asked: int | None = None
        self._since = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start listening for signals."""
        self._handlers.set()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Save and stop, if any rank was asked to."""
        self._stop_if_asked(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop after the last step too: another run may follow."""
        self._stop_if_asked(trainer)

    def _stop_if_asked(self, trainer: L.Trainer) -> None:
        if trainer.strategy.reduce_boolean_decision(self._asked is not None, all=False):
            self.saver.save(trainer)
            raise Interrupted(self._asked or TERMINATE)

    def _ask(self, number: int) -> None:
        now = time.monotonic()
        if self._asked is None:
            self._asked, self._since = number, now
            if is_main_process():
                os.write(2, SAID)  # print is not reentrant, and the signal may have interrupted a print
        elif now - self._since > SAME_REQUEST:
            self._handlers.restore()
            signal.raise_signal(number)
