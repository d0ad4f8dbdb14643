"""Requests to end: SIGINT (Ctrl-C) and SIGTERM (`kill`, Slurm, a machine that goes away)."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

REQUESTS = (signal.SIGINT, signal.SIGTERM)
TERMINATE = int(signal.SIGTERM)


@contextlib.contextmanager
def as_before() -> Iterator[None]:
    """Who listens to requests before listens afterwards again, whatever is set inside and forgotten."""
    before = {number: signal.getsignal(number) for number in REQUESTS}
    try:
        yield
    finally:
        if _can_listen():
            for number, handler in before.items():
                signal.signal(number, handler)


class Handlers:
    """Calls a function when this process is asked to end, between `set` and `restore`.

    Only a program's main thread can listen; elsewhere nothing changes.

    Args:
        ask: Called with the signal's number.
    """

    def __init__(self, ask: Callable[[int], None]) -> None:
        self._ask = ask
        self._before: dict[int, Any] = {}

    def set(self) -> None:
        """Listen."""
        if _can_listen():
            for number in REQUESTS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # as behind `nohup`
                    self._before[number] = signal.signal(number, lambda number, frame: self._ask(number))

    def restore(self) -> None:
        """Leave the signals to whom they belonged before."""
        before, self._before = self._before, {}
        for number, handler in before.items():
            signal.signal(number, handler)


def _can_listen() -> bool:
    return threading.current_thread() is threading.main_thread()
