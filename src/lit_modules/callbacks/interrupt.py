"""Ending a run that is asked to end: by Ctrl-C, by `kill`, or by Slurm before its time is up."""

from __future__ import annotations

import os
from typing import Any

import lightning as L

from src.lit_modules.callbacks.checkpoint import ResumeCheckpoints
from src.utils.errors import Interrupted
from src.utils.ranks import is_main_process
from src.utils.signals import TERMINATE, Handlers

SAID = b"\nstopping once this step is done and saved; ask again to stop at once\n"


class StopWhenAsked(L.Callback):
    """Finishes the step, saves, and raises `Interrupted` in all ranks; a second request is not held up.

    Lightning's own handlers, in whose place this one's are while training runs, would end a run that was asked to with
    exit code 0 and without a checkpoint.

    Args:
        saver: Saves the run.
    """

    def __init__(self, saver: ResumeCheckpoints) -> None:
        self.saver = saver
        self._handlers = Handlers(self._ask)
        self._asked: int | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Listens from here on."""
        self._handlers.set()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Saves and stops, if any rank was asked to."""
        if trainer.strategy.reduce_boolean_decision(self._asked is not None, all=False):
            self.saver.save(trainer)
            raise Interrupted(self._asked or TERMINATE)

    def _ask(self, number: int) -> None:
        first, self._asked = self._asked is None, number
        self._handlers.restore(number)  # Ctrl-C reaches this process, and its launcher, which also sends a SIGTERM
        if first and is_main_process():
            os.write(2, SAID)  # the signal may have come in the middle of a print
