"""Probes of a program's power over processes and networks: run inside the sandbox, checked from outside."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from src.evaluation.sandbox.worker import Worker

Probe = Callable[..., Any]


# --- processes --------------------------------------------------------------------------------------------------------
NO_SHELL = 127 << 8  # system(3) where no child could be made


@pytest.mark.parametrize(
    "attempt",
    [
        "import os; return os.fork()",
        "import os; return os.system('true')",
        "import subprocess; return subprocess.run(['true']).returncode",
        "import multiprocessing; p = multiprocessing.Process(target=print); p.start(); return p.pid",
        "import os; os.execv('/bin/sh', ['sh'])",
        "import os; return os.posix_spawn('/bin/true', ['true'], {})",
    ],
)
def test_no_other_process(attempt: str, probe: Probe) -> None:
    answer = probe(attempt)
    assert answer in (-1, NO_SHELL) or "Error" in str(answer), answer


def test_threads_work_in_number(probe: Probe) -> None:
    body = """
import threading
seen = []
threads = [threading.Thread(target=seen.append, args=(n,)) for n in range(10)]
for thread in threads: thread.start()
for thread in threads: thread.join()
return sorted(seen)
"""
    assert probe(body) == list(range(10))
    if os.geteuid() == 0 and probe("import os; return os.getuid()") == 0:
        pytest.skip("the kernel does not count root's threads: as root the way without a user namespace comes first")
    bomb = """
import threading, time
threading.stack_size(32768)
n = 0
try:
    while n < 5000:
        threading.Thread(target=time.sleep, args=(10,), daemon=True).start()
        n += 1
except RuntimeError: pass
return n
"""
    assert probe(bomb) < 1000


def test_signals_reach_nobody_else(probe: Probe) -> None:
    body = """
import os
answers = []
for target in (1, -1, os.getppid()):
    for number in (9, 15, 19):
        try: os.kill(target, number); answers.append('sent')
        except ProcessLookupError: answers.append('nobody')
        except PermissionError: answers.append('refused')
    if target == -1: break
return answers
"""
    assert set(probe(body)) <= {"sent", "nobody", "refused"}
    assert probe("return 3") == 3


# --- network ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def listening() -> Iterator[tuple[int, list[str]]]:
    """A server on the loopback interface, and who called."""
    callers: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with contextlib.suppress(OSError):
                callers.append(str(server.accept()[1]))

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server.getsockname()[1], callers
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_no_socket(probe: Probe, listening: tuple[int, list[str]]) -> None:
    port, callers = listening
    assert "PermissionError" in probe("import socket; socket.create_connection(('127.0.0.1', a0), 1)", port)
    for family in ("AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK"):
        assert "PermissionError" in probe(f"import socket; socket.socket(socket.{family})")
    assert callers == []


def test_namespaces_of_its_own(each_worker: Worker) -> None:
    """Network, processes, files, messages and host name: none of them ours."""
    [server] = psutil.Process(each_worker.pid).children(recursive=True)
    for space in ("net", "pid", "mnt", "ipc", "uts"):
        try:
            theirs = os.readlink(f"/proc/{server.pid}/ns/{space}")
        except PermissionError:
            pytest.skip("the server cannot be inspected, not even by its owner")
        assert theirs != os.readlink(f"/proc/self/ns/{space}")


def test_asyncio_still_runs(probe: Probe) -> None:
    """Answers may use an event loop, which makes a pair of sockets that lead nowhere."""
    assert probe("import asyncio\nasync def g(): return 7\nreturn asyncio.run(g())") == 7
