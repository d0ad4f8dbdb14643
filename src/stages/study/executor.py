"""Executors of conf/executor: where the jobs of a study run, one after the other or side by side.

An executor is `workers` and `submit(function, *arguments)`, which returns a future with `done()` and `result()`: the
interface of `concurrent.futures` and of submitit.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import ForkServerContext
from multiprocessing.forkserver import ensure_running
from typing import Any, Protocol

from src.runs.lock import wait_for_other_processes
from src.utils.errors import UserError
from src.utils.threads import set_threads, usable_cores

GRACE = 30.0  # seconds in which a worker that was asked to stop may save its training step
PRELOAD = ["src.stages.train.run", "src.stages.merge.run", "src.stages.evaluate.run", "src.stages.diagnose"]


class Pending(Protocol):
    """A job that was submitted."""

    def done(self) -> bool:
        """True once it has ended, with or without success."""

    def result(self) -> Any:
        """Return what the function returned, or raise what it raised."""


class Executor(Protocol):
    """Where the jobs of a study run.

    Attributes:
        workers: Number of jobs at a time; no more are submitted before one has ended.
    """

    workers: int

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Pending:
        """Start `function(*arguments)`; all of them and the result can be pickled."""

    def stop(self) -> None:
        """Ask running jobs to stop, and wait until they have."""

    def close(self) -> None:
        """Release the workers once nothing is running."""


class SerialExecutor:
    """Run every job at once in this process."""

    workers = 1

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Run `function(*arguments)` now; interrupts pass through, errors are kept for `result()`."""
        future = Future[Any]()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future

    def stop(self) -> None:
        """Do nothing: a job of this process has already stopped."""

    def close(self) -> None:
        """Do nothing."""


class LocalExecutor:
    """Run jobs in long-lived processes of this machine, which share its cores and GPUs evenly.

    Each worker is a pool of one process, so that the death of one affects only its own job.

    Args:
        workers: Number of processes; None: one per GPU, or one per core without GPUs.
        threads: CPU threads per process; None: the cores divided by the processes.

    Raises:
        UserError: Fewer than one worker or thread.
    """

    def __init__(self, workers: int | None = None, threads: int | None = None) -> None:
        gpus = _gpus()
        self.workers = len(gpus) or usable_cores() if workers is None else workers
        if self.workers < 1:
            raise UserError(f"executor.workers: expected at least 1, got {workers}")
        self.threads = max(1, usable_cores() // self.workers) if threads is None else threads
        if self.threads < 1:
            raise UserError(f"executor.threads: expected at least 1, got {threads}")
        self._slots = [_Slot(self.threads, gpus[place :: self.workers]) for place in range(self.workers)]

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Start `function(*arguments)` in a free process."""
        [slot, *_] = [slot for slot in self._slots if slot.is_free]
        return slot.submit(function, *arguments)

    def stop(self) -> None:
        """Send SIGTERM to all workers: a training job saves its step; after `GRACE` seconds they are killed."""
        for slot in self._slots:
            slot.signal(signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        while not all(slot.is_free for slot in self._slots) and time.monotonic() < deadline:
            time.sleep(0.05)
        for slot in self._slots:
            if not slot.is_free:
                slot.signal(signal.SIGKILL)
        self.close()

    def close(self) -> None:
        """End the processes."""
        for slot in self._slots:
            slot.close()


class _Slot:
    """One worker process, started on first use and again if it has died."""

    def __init__(self, threads: int, gpus: list[str]) -> None:
        self._threads, self._gpus = threads, gpus
        self._pool: ProcessPoolExecutor | None = None
        self._process: int | None = None
        self._future: Future[Any] | None = None

    @property
    def is_free(self) -> bool:
        return self._future is None or self._future.done()

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        try:
            self._future = self._started().submit(function, *arguments)
        except BrokenProcessPool:  # its process died after its last job
            self.close()
            self._future = self._started().submit(function, *arguments)
        return self._future

    def signal(self, number: int) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process, number)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._pool = self._process = None

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                1, mp_context=_forkserver(), initializer=_begin, initargs=(self._threads, self._gpus)
            )
            self._process = self._pool.submit(os.getpid).result()
        return self._pool


def begin_imports(target: str) -> None:
    """Import what local workers need, once for all of them, while this process is still planning.

    Args:
        target: `_target_` of the executor; nothing happens for another one.
    """
    if target == f"{LocalExecutor.__module__}.{LocalExecutor.__qualname__}":
        _forkserver()
        ensure_running()


def _forkserver() -> ForkServerContext:
    """The context of local workers: what they need is imported once, before they are forked."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    return context


def _gpus() -> list[str]:
    """Names of the GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` has them."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    named = [name for name in visible.split(",") if name] if visible else []
    return named or [str(index) for index in range(torch.cuda.device_count())]


def _begin(threads: int, gpus: list[str]) -> None:
    """Prepare a worker process: its share of the machine, and its end with the process that started it."""
    set_threads(threads)
    wait_for_other_processes()  # jobs of several cells may need the same run
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(1)
