"""Limits that hold without isolation too: no addresses, no signals to others."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from src.evaluation.sandbox.launch import find_launches
from src.evaluation.sandbox.worker import Worker
from tests.evaluation.sandbox.conftest import answer, make_job


@pytest.fixture
def unsafe() -> Iterator[Worker]:
    [launch] = find_launches("unsafe")
    worker = Worker(launch)
    worker.start()
    yield worker
    worker.close()


def test_unsafe_reaches_no_abstract_socket(unsafe: Worker) -> None:
    """Nor any other address: a pair is all that asyncio needs, and datagram pairs could be connected elsewhere."""
    name = f"\0mixmerge-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mine, socket.socket(socket.AF_UNIX) as stream:
        mine.bind(name)
        stream.bind(name + "-stream")
        stream.listen()
        mine.settimeout(0.1)
        source = """
import errno, socket
def f(name):
    results = []
    def attempt(action):
        try: action(); results.append('done')
        except OSError as error: results.append(errno.errorcode[error.errno])
    def pair(): return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)[0]
    attempt(lambda: socket.socket(socket.AF_UNIX))
    attempt(lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
    attempt(lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    attempt(lambda: pair().connect(name + '-stream'))
    attempt(lambda: pair().bind(name + '-other'))
    attempt(lambda: pair().listen())
    attempt(lambda: pair().sendto(b'x', name))
    attempt(lambda: pair().sendmsg([b'x'], [], 0, name))
    one, other = socket.socketpair()
    attempt(lambda: one.send(b'x'))
    return results
"""
        assert answer(unsafe, make_job(source, [[name]])) == ["EPERM"] * 8 + ["done"]
        with pytest.raises(TimeoutError):
            mine.recv(1)


@pytest.mark.parametrize(
    "attack",
    [
        "os.kill(os.getppid(), 9)",
        "os.kill(-1, 0)",
        "os.killpg(os.getpgid(os.getppid()), 9)",
        "signal.pidfd_send_signal(os.open(f'/proc/{os.getppid()}', 0), 9)",
        "fcntl.fcntl(3, 8, os.getppid())",
        "fcntl.fcntl(3, 10, 9)",
        "fcntl.ioctl(3, 0x8901, os.getppid().to_bytes(4, 'little'))",
        "fcntl.ioctl(3, 0x8902, os.getppid().to_bytes(4, 'little'))",
    ],
)
def test_unsafe_signals_nobody_else(attack: str, unsafe: Worker) -> None:
    body = f"  try: {attack}\n  except OSError as error: return error.errno\n  return 0"
    source = f"import fcntl, os, signal\ndef f():\n{body}"
    server = unsafe.pid
    assert answer(unsafe, make_job(source)) == 1
    assert answer(unsafe, make_job("import os, signal\ndef f(): os.kill(os.getpid(), 0); return 2")) == 2
    assert unsafe.pid == server


def test_own_signals_still_work(worker: Worker) -> None:
    source = """
import os, signal
def f():
    seen = []
    signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))
    signal.raise_signal(signal.SIGUSR1)
    os.kill(os.getpid(), signal.SIGUSR1)
    return seen
"""
    assert answer(worker, make_job(source)) == [1, 1]
