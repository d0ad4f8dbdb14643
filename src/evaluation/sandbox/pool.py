"""All sandboxes of a run: started once, one per core, and kept between calls."""

from __future__ import annotations

import contextlib
import copy
import os
import queue
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

from src.evaluation.sandbox.guest import confine
from src.evaluation.sandbox.launch import find_launches, refusal
from src.evaluation.sandbox.worker import Worker, WorkerDied
from src.utils.errors import UserError
from src.utils.threads import cpu_threads

T = TypeVar("T")
R = TypeVar("R")


class Sandbox:
    """Run untrusted programs in isolation; a context manager that starts its workers on first use.

    Args:
        isolation: `auto` (bubblewrap where installed, else `unshare`), `bubblewrap`, `unshare`, or `unsafe`: separate
            processes with limits, which can read and write what the user can.
        workers: Number of programs at a time; None: one per core.
        memory_mb: Address space of a program, in MiB.
        min_time_limit: CPU seconds that any test may take (EvalPlus: 1).
        gt_time_limit_factor: A test may take this many times the CPU time of the reference solution (EvalPlus: 4).
        hash_seed: Python's hash seed of the programs, which determines the order of sets of strings.

    Example:
        >>> with Sandbox(isolation="auto") as sandbox:
        ...     verdicts = score_programs(problems, samples, sandbox)
    """

    def __init__(
        self,
        isolation: str = "auto",
        workers: int | None = None,
        memory_mb: int = 4096,
        min_time_limit: float = 1.0,
        gt_time_limit_factor: float = 4.0,
        hash_seed: int = 0,
    ) -> None:
        if sys.platform != "linux":
            raise UserError(f"generated programs can run only on Linux, not on {sys.platform}")
        if workers is not None and workers < 1:
            raise UserError(f"sandbox.workers: expected at least 1, got {workers}")
        self.isolation = isolation
        self.size = workers or cpu_threads()
        self.memory_mb = memory_mb
        self.min_time_limit = min_time_limit
        self.gt_time_limit_factor = gt_time_limit_factor
        self.hash_seed = hash_seed
        self._launches = find_launches(isolation)
        self._workers: list[Worker] = []
        self._reseeded: Sandbox | None = None
        self._starting: Future[None] | None = None

    def map(
        self,
        function: Callable[[Worker, T], R],
        items: Sequence[T],
        modules: set[str] | None = None,
        workers: int | None = None,
        on_done: Callable[[], None] | None = None,
    ) -> list[R]:
        """Call `function(worker, item)` for all items; each worker takes the next item as soon as it is free.

        Args:
            function: Runs in a thread, which has `worker` to itself.
            items: In the order in which to start them (longest first keeps all cores busy to the end).
            modules: Imported once in every worker before its first item.
            workers: Maximum number at a time; None: all.
            on_done: Called after each item, from the item's thread.

        Returns:
            Results in the order of `items`.

        Raises:
            UserError: No sandbox can be started on this machine.
        """
        count = min(workers or self.size, self.size, len(items))
        shared = _Round(function, items, modules or set(), on_done)
        ready = self._ready(count)
        with ThreadPoolExecutor(max(1, count)) as executor:
            futures = [executor.submit(shared.work, worker) for worker in ready]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                shared.stop.set()
                self.close()  # ends the running programs, and thus the threads that wait for them
                raise
        return [shared.results[index] for index in range(len(items))]

    def start_early(self, count: int) -> None:
        """Start workers in the background; the next use waits for them, and raises what went wrong.

        Args:
            count: Number of programs to come.
        """
        if count and not self._workers and self._starting is None:
            executor = ThreadPoolExecutor(1)
            self._starting = executor.submit(self._start_all, min(self.size, count))
            executor.shutdown(wait=False)

    def reseeded(self) -> Sandbox:
        """Return the same sandbox with another hash seed, in processes of its own; it closes with this one."""
        if self._reseeded is None:
            self._reseeded = copy.copy(self)
            self._reseeded._workers, self._reseeded.hash_seed = [], self.hash_seed + 1
            self._reseeded._starting = None
        return self._reseeded

    def close(self) -> None:
        """End all workers; the next use starts new ones."""
        if self._starting is not None:
            self._starting.exception()  # waits; what went wrong no longer matters
            self._starting = None
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.close()
        if self._reseeded is not None:
            self._reseeded.close()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start_all(self, count: int) -> None:
        self._workers.append(self._start_one())
        rest = [Worker(self._launches[0], self.hash_seed) for _ in range(count - 1)]
        with ThreadPoolExecutor(max(1, len(rest))) as executor:
            for started in [executor.submit(worker.start) for worker in rest]:
                started.exception()  # one that does not come up starts with its first program, which says why
        self._workers += rest

    def _ready(self, count: int) -> list[Worker]:
        if self._starting is not None:
            starting, self._starting = self._starting, None
            starting.result()
        if count and not self._workers:
            self._workers.append(self._start_one())
        while len(self._workers) < count:  # they start with their first program, all in parallel
            self._workers.append(Worker(self._launches[0], self.hash_seed))
        return self._workers[:count]

    def _start_one(self) -> Worker:
        if not confine.filter_is_supported() and self.isolation != "unsafe":
            raise refusal([f"no system-call filter for {os.uname().machine}"])
        reasons = []
        for launch in list(self._launches):
            worker = Worker(launch, self.hash_seed)
            try:
                worker.start()
            except WorkerDied as death:
                reasons.append(f"{launch.name}: {death}")
                continue
            self._launches = [launch]
            return worker
        raise refusal(reasons)


class _Round(Generic[T, R]):
    """Items that workers take one by one, each worker in its own thread, and their results."""

    def __init__(
        self,
        function: Callable[[Worker, T], R],
        items: Sequence[T],
        modules: set[str],
        on_done: Callable[[], None] | None,
    ) -> None:
        self.function, self.modules, self.on_done = function, modules, on_done
        self.waiting: queue.SimpleQueue[tuple[int, T]] = queue.SimpleQueue()
        for numbered in enumerate(items):
            self.waiting.put(numbered)
        self.results: dict[int, R] = {}
        self.stop = threading.Event()

    def work(self, worker: Worker) -> None:
        """Take items until none are left or another thread fails."""
        worker.warm(self.modules)
        with contextlib.suppress(queue.Empty):
            while not self.stop.is_set():
                index, item = self.waiting.get_nowait()
                self.results[index] = self.function(worker, item)
                if self.on_done is not None:
                    self.on_done()
