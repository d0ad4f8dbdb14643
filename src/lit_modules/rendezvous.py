"""Meet the other processes of a run, and say who is missing."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from datetime import timedelta

from torch._C._distributed_c10d import PrefixStore, Store, TCPStore
from torch.distributed import DistError

from src.utils.errors import UserError
from src.utils.progress import console

NOTICE = 30.0  # seconds without one of them until it is named
LIMIT = 600.0  # seconds until the others give up
LOOK = 0.1  # seconds between two looks
HOW = "look for its error above or in its log; srun --kill-on-bad-exit=1 ends the others with it"


def meet(rank: int, size: int, address: str, port: int, *, serve: bool) -> Store:
    """Return the store through which the processes connect, once all have arrived.

    Args:
        rank: Number of this process.
        size: Number of all.
        address: Host of the store.
        port: Its port.
        serve: Whether this process holds the store: the first one, unless torchrun holds it.

    Raises:
        UserError: A process has not arrived after `LIMIT` seconds, or the one with the store has ended.
    """
    if not serve:  # torch's own attempts to connect fill the screen with warnings
        _wait(lambda: _listens(address, port), lambda: [0], size, speaks=True)
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    try:
        opened = TCPStore(
            address, port, size, serve, timedelta(seconds=LIMIT), wait_for_workers=False, multi_tenant=True
        )
        store = PrefixStore(f"mixmerge/{attempt}", opened)
        store.set(_arrived(rank), "1")
        everyone = [_arrived(other) for other in range(size)]

        def missing() -> list[int]:
            return [other for other, name in enumerate(everyone) if not store.check([name])]

        _wait(lambda: store.check(everyone), missing, size, speaks=rank == 0)
    except DistError as error:
        raise UserError(f"process 0 of {size}, at {address}:{port}, does not answer any more; {HOW}") from error
    return store


def _wait(is_over: Callable[[], bool], missing: Callable[[], list[int]], size: int, speaks: bool) -> None:
    """Wait; name the missing processes every `NOTICE` seconds, and raise after `LIMIT`."""
    start = time.monotonic()
    told = 0
    while not is_over():
        waited = time.monotonic() - start
        if waited > LIMIT:
            raise UserError(f"{_named(missing(), size)} did not arrive in {LIMIT:.0f} s; {HOW}")
        if speaks and waited > NOTICE * (told + 1):
            told += 1
            console.print(f"waiting for {_named(missing(), size)}; {HOW}", highlight=False, soft_wrap=True)
        time.sleep(LOOK)


def _named(ranks: list[int], size: int) -> str:
    names = ", ".join(map(str, ranks[:8])) + (", ..." if len(ranks) > 8 else "")
    return f"process {names} of {size} (counted from 0)"


def _arrived(rank: int) -> str:
    return f"arrived/{rank}"


def _listens(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=NOTICE).close()
    except OSError:
        return False
    return True
