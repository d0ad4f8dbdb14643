"""Processes that begin with all that a test has imported: what they do takes no ten seconds of imports first."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

# autograd cannot be forked once it has threads for a GPU; other systems do not fork safely
METHOD = "fork" if sys.platform == "linux" and not torch.cuda.is_available() else "spawn"


class Forked:
    """A function in a process of its own, with the methods of `subprocess.Popen` that tests and launchers use.

    Args:
        function: Of a module, with arguments that can be pickled.
        environment: Variables of the process; None: those of this one.
    """

    def __init__(self, function: Callable[..., object], *arguments: Any, environment: Mapping[str, str] | None = None):
        context: Any = multiprocessing.get_context(METHOD)
        self._process = context.Process(target=_run, args=(function, arguments, dict(environment or os.environ)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads, which are idle here
            self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        """The exit code, minus the number of the signal that ended it; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(str(self._process), timeout or 0)
        return int(self._process.exitcode)

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


def _run(function: Callable[..., object], arguments: Sequence[Any], environment: dict[str, str]) -> None:
    signal.set_wakeup_fd(-1)
    os.environ.clear()
    os.environ.update(environment)
    function(*arguments)
