"""Locks of run directories: one process writes a run, the others are told, or wait for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from src.utils.errors import UserError

LOCK = ".lock"
LOOK = 0.1  # seconds between attempts to open a run that another process is writing


class Busy(UserError):
    """Another process is writing the run."""


_patient = False


def wait_for_other_processes() -> None:
    """From now on, wait while another process writes a run and then reuse it, instead of refusing to write it too."""
    global _patient
    _patient = True


@contextlib.contextmanager
def waiting_for_others() -> Iterator[None]:
    """Wait for other processes inside this block: for a run that several jobs of a sweep need, such as a base."""
    global _patient
    before, _patient = _patient, True
    try:
        yield
    finally:
        _patient = before


def is_patient() -> bool:
    """True if this process waits for runs that others are writing."""
    return _patient


def lock_run(directory: Path, work: Path) -> FileLock:
    """Lock a work directory, which is created if it is missing.

    An operating-system lock ends with its process, so that no stale lock blocks a resumed run. Its file is in the work
    directory and is removed with it, so nothing is left beside runs or in a checkpoint.

    Raises:
        Busy: Another process holds the lock.
    """
    while True:
        work.mkdir(parents=True, exist_ok=True)
        lock = FileLock(work / LOCK)
        try:
            lock.acquire(timeout=0)
        except FileNotFoundError:  # the other process has just renamed the directory
            continue
        except Timeout:
            text = f"another process is writing {directory}; wait for it or choose output=DIR"
            raise Busy(text) from None
        if (work / LOCK).exists():
            return lock
        lock.release()  # of a file that was renamed or removed in between
