"""Requests to stop: SIGINT (Ctrl-C), SIGTERM (`kill`, Slurm, a preempted machine), SIGHUP (a closed terminal)."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

from src.utils.errors import Interrupted

REQUESTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TERMINATE = int(signal.SIGTERM)


@contextlib.contextmanager
def restored_handlers() -> Iterator[None]:
    """Restore the previous signal handlers on exit."""
    before = {number: signal.getsignal(number) for number in REQUESTS}
    try:
        yield
    finally:
        if _in_main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


class Handlers:
    """Handlers that call a function when this process is asked to stop, between `set` and `restore`.

    Python runs signal handlers in the main thread only; in other threads nothing changes.

    Args:
        ask: Called with the signal number.
    """

    def __init__(self, ask: Callable[[int], None]) -> None:
        self._ask = ask
        self._before: dict[int, Any] = {}

    def set(self) -> None:
        """Install the handlers."""
        if _in_main_thread():
            for number in REQUESTS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # ignored on purpose, as under `nohup`
                    self._before[number] = signal.signal(number, lambda number, frame: self._ask(number))

    def restore(self) -> None:
        """Restore the handlers that `set` replaced."""
        before, self._before = self._before, {}
        for number, handler in before.items():
            signal.signal(number, handler)


_heard: list[int] = []


@contextlib.contextmanager
def interrupting() -> Iterator[None]:
    """Turn requests into exceptions inside this block: `KeyboardInterrupt` for Ctrl-C, else `Interrupted`.

    Without it, SIGTERM and SIGHUP end a script without a line and without its `finally` blocks.
    """
    _heard.clear()
    handlers = Handlers(_interrupt)
    handlers.set()
    try:
        yield
    finally:
        handlers.restore()


def stop_if_asked() -> None:
    """Raise a request again that was lost: Python ignores exceptions inside finalizers and callbacks of libraries.

    Raises:
        Interrupted: A request came, and the script still runs.
    """
    if _heard:
        raise Interrupted(_heard[0])


def _interrupt(number: int) -> None:
    _heard.append(number)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise Interrupted(number)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
