"""Checkpoints from which a run killed at any moment resumes as if it had never stopped."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict_loader import load

from src.lit_modules.options import CheckpointOptions
from src.lit_modules.sharding import local
from src.utils.errors import Stopped
from src.utils.ranks import from_all, from_main, rank

PREFIX = "step-"


class ResumeCheckpoints(L.Callback):
    """Save network, optimizer, schedule, counters and random states every N steps and every T seconds.

    A checkpoint of step k is written just before step k + 1, so that it includes the validation and records of step k.
    It is renamed when complete, so an existing checkpoint is never partial. Only then are older ones deleted.

    Args:
        directory: Holds the checkpoints.
        options: When to save, and how many to keep.
        best_step: The step with the lowest validation loss so far; kept if `options.select` is "best".
    """

    def __init__(self, directory: Path, options: CheckpointOptions, best_step: Callable[[], int | None]) -> None:
        self.directory, self.options = directory, options
        self.best_step = best_step if options.select == "best" else lambda: None
        self._last_time = time.monotonic()
        self._cost = 0.0  # seconds of the last save
        self._last_step = -1
        self._random: dict[str, Any] | None = None

    def steps(self) -> list[int]:
        """Steps of all complete checkpoints, ascending."""
        return sorted(int(path.stem.removeprefix(PREFIX)) for path in self.directory.glob(f"{PREFIX}*.ckpt"))

    def path(self, step: int) -> Path:
        """Path of the checkpoint of a step."""
        return self.directory / f"{PREFIX}{step:08d}.ckpt"

    def newest(self) -> Path | None:
        """The checkpoint to resume from: a file, or a directory with the shards of several ranks."""
        steps = from_main(self.steps())
        return self.path(steps[-1]) if steps else None

    def load_selected(self, network: torch.nn.Module, last: int) -> int:
        """Load the weights that `select` requests into a network that holds those of step `last`; return their step."""
        best = self.best_step()
        if best is None or best == last:
            return last
        if self.path(best).is_dir():
            state: dict[str, Any] = {f"network.{name}": value for name, value in network.state_dict().items()}
            load({"state_dict": state}, checkpoint_id=self.path(best))
        else:
            state = torch.load(self.path(best), weights_only=True, map_location="cpu")["state_dict"]
        own = {name.removeprefix("network."): value for name, value in state.items()}
        network.load_state_dict(own, strict=all(parameter.requires_grad for parameter in network.parameters()))
        return best

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Remove the partial checkpoint of an interrupted save."""
        if trainer.is_global_zero and self.directory.is_dir():
            for leftover in self.directory.glob(".saving-*"):
                _remove(leftover)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the timer and restore random states, after everything else that may use them."""
        self._last_time, self._last_step = time.monotonic(), trainer.global_step
        if self._random is not None:
            _set_random_state(self._random)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Save the previous step if a checkpoint is due."""
        if self.best_step() == trainer.global_step or self._is_due(trainer):
            self.save(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the last step."""
        self.save(trainer)

    def save(self, trainer: L.Trainer) -> None:
        """Save the current step unless it is already saved."""
        if trainer.global_step != self._last_step:
            self._save(trainer)

    def state_dict(self) -> dict[str, Any]:
        """Collect the random states of all ranks."""
        return {"ranks": from_all(_random_state())}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep this rank's random state (rank 0's for new ranks) until training starts."""
        states = state_dict["ranks"]
        self._random = states[rank() if rank() < len(states) else 0]

    def _is_due(self, trainer: L.Trainer) -> bool:
        every, seconds = self.options.every_steps, self.options.every_seconds
        by_steps = every is not None and trainer.global_step % every == 0
        by_time = seconds is not None and time.monotonic() - self._last_time >= self._pause(seconds)
        # saving is a collective operation and clocks differ, so all ranks must make the same decision
        return by_steps or (seconds is not None and trainer.strategy.reduce_boolean_decision(by_time, all=False))

    def _pause(self, least: float) -> float:
        """Seconds until the next save by time: more than `least` where saves are slow."""
        return max(least, self._cost / self.options.max_share)

    def _save(self, trainer: L.Trainer) -> None:
        step, start = trainer.global_step, time.monotonic()
        _require_numbers(trainer, step)
        final, temporary = self.path(step), self.directory / f".saving-{step:08d}.ckpt"
        self.directory.mkdir(parents=True, exist_ok=True)
        with _disk_errors(self.directory):
            trainer.save_checkpoint(temporary)
            trainer.strategy.barrier()
            if trainer.is_global_zero:
                _flush(temporary)
                temporary.replace(final)
                self._prune()
        trainer.strategy.barrier()
        self._last_time, self._last_step = time.monotonic(), step
        self._cost = self._last_time - start

    def _prune(self) -> None:
        steps = self.steps()
        kept = {*steps[-self.options.keep :], self.best_step()}
        for step in set(steps) - kept:
            _remove(self.path(step))


class StreamedFiles(TorchCheckpointIO):
    """Write a single process's checkpoints directly to the file; Lightning would hold a second copy in memory."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write the checkpoint; a full disk raises `OSError`."""
        try:
            with Path(path).open("wb") as file:
                torch.save(checkpoint, file)
        except RuntimeError as error:  # torch fails again when it closes the file, which hides the reason
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise


@contextlib.contextmanager
def _disk_errors(directory: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, CheckpointException) as error:
        reason = getattr(error, "strerror", None) or str(error).strip().splitlines()[-1]
        raise Stopped(
            f"cannot save a checkpoint in {directory}: {reason}; the previous one is kept: free disk space and run the "
            "same command, with checkpoint.keep=1 to need less"
        ) from error


def _require_numbers(trainer: L.Trainer, step: int) -> None:
    """Refuse to save weights with NaN or Inf: they must not replace good checkpoints."""
    trained = (parameter for parameter in trainer.lightning_module.parameters() if parameter.requires_grad)
    broken = not all(bool(torch.isfinite(local(parameter)).all()) for parameter in trained)
    if trainer.strategy.reduce_boolean_decision(broken, all=False):
        raise Stopped(
            f"weights contain NaN or Inf after step {step} and are not saved; earlier checkpoints are kept. "
            "Lower strategy.learning_rate"
        )


def _flush(path: Path) -> None:
    for file in path.rglob("*") if path.is_dir() else [path]:
        with file.open("rb") as opened:
            os.fsync(opened.fileno())


def _random_state() -> dict[str, Any]:
    name, keys, *rest = np.random.get_state()  # noqa: NPY002 - third-party code uses the global state
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
    }


def _set_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
