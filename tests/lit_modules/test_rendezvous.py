from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

import pytest
from torch._C._distributed_c10d import Store

from src.lit_modules.rendezvous import meet
from src.utils.errors import UserError

Arrive = Callable[[int], Store]


@pytest.fixture
def arrive(monkeypatch: pytest.MonkeyPatch) -> Arrive:
    """Let one of three processes arrive; they are named after 0.1 seconds, and given up after 0.45."""
    monkeypatch.setattr("src.lit_modules.rendezvous.NOTICE", 0.1)
    monkeypatch.setattr("src.lit_modules.rendezvous.LIMIT", 0.45)
    monkeypatch.setattr("src.lit_modules.rendezvous.LOOK", 0.02)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    return lambda rank: meet(rank, 3, "127.0.0.1", port, serve=rank == 0)


def test_the_missing_process_is_named(arrive: Arrive, capsys: pytest.CaptureFixture[str]) -> None:
    def second() -> None:
        with pytest.raises(UserError):
            arrive(1)

    other = threading.Thread(target=second)
    other.start()
    with pytest.raises(UserError, match=r"process 2 of 3 \(counted from 0\) did not arrive in 0 s"):
        arrive(0)
    other.join()
    assert "waiting for process 2 of 3 (counted from 0)" in capsys.readouterr().err


def test_one_that_comes_late_is_waited_for(arrive: Arrive) -> None:
    stores: dict[int, Store] = {}

    def late(rank: int) -> None:
        time.sleep(0.12 * rank)
        stores[rank] = arrive(rank)

    threads = [threading.Thread(target=late, args=(rank,)) for rank in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stores[0].set("greeting", "hello")
    assert stores[2].get("greeting") == b"hello"


def test_nobody_serves(arrive: Arrive, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"process 0 of 3 \(counted from 0\) did not arrive"):
        arrive(1)
    assert "waiting for process 0 of 3" in capsys.readouterr().err
