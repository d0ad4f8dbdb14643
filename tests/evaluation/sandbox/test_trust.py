"""Nothing that a program can reach has held another program, and nothing it does to its own things lasts."""

from __future__ import annotations

import marshal
import os
import socket
import struct
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from src.evaluation.grading.expected_outputs import Suite
from src.evaluation.grading.oracles import Oracle
from src.evaluation.grading.problems import Problem
from src.evaluation.grading.run_tests import _OutputChecker
from src.evaluation.sandbox import protocol
from src.evaluation.sandbox.decode import LARGEST_VALUE, Undecodable, decode
from src.evaluation.sandbox.jobs import End, Frame, Job
from src.evaluation.sandbox.launch import find_launches
from src.evaluation.sandbox.pool import Sandbox
from src.evaluation.sandbox.worker import Worker
from tests.evaluation.sandbox.conftest import make_job, run_job

LIMITED = {"cpu_limits": (2.0, 2.0), "cpu_total": 8.0, "memory": 2 << 30}

# Looks through all memory of its process: the heap, and everything near any Python object.
SCAN = """
import ctypes, gc, os
libc = ctypes.CDLL(None)
libc.sbrk.restype = ctypes.c_void_p
libc.write.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
def regions():
    r, w = os.pipe()
    def readable(a):
        if libc.write(w, a, 1) == 1:
            os.read(r, 1)
            return True
        return False
    top = libc.sbrk(0) // 4096 * 4096
    low = top - 4096
    while readable(low): low -= 4096
    yield low + 4096, top
    near = {id(o) >> 20 for o in gc.get_objects()}
    for base in sorted({b + d << 20 for b in near for d in (-1, 0, 1)}):
        start = None
        for page in range(base, base + (1 << 20) + 1, 4096):
            if page < base + (1 << 20) and readable(page):
                start = page if start is None else start
            elif start is not None:
                yield start, page
                start = None
def f(*pieces):
    needles = [''.join(piece[::-1]).encode() for piece in pieces]
    found = [0] * len(needles)
    for start, end in regions():
        memory = ctypes.string_at(start, end - start)
        for n, needle in enumerate(needles):
            at = memory.find(needle)
            while at >= 0:
                found[n] += start + at < id(needle) or start + at > id(needle) + 200
                at = memory.find(needle, at + 1)
        del memory
    return found
"""


def marker(number: int) -> str:
    return f"secret-{number}-" + "".join(chr(97 + (number * k * k + k) % 26) for k in range(24))


@pytest.fixture
def worker(sandbox: Sandbox) -> Worker:
    """The worker of the shared sandbox."""
    [found] = sandbox.map(lambda worker, _: worker, [0])
    return found


def answer(worker: Worker, job: Job) -> Any:
    [frame], _ = run_job(worker, job)
    assert frame.kind in (protocol.PLAIN, protocol.TAGGED), frame
    return decode(frame.kind, frame.body)


def test_memory_has_no_reference_and_no_other_program(worker: Worker) -> None:
    """The scanner finds what its own process has read (its source's comment), and nothing of programs before it."""
    texts = [marker(n) for n in range(4)]
    big = "#" + "x" * 200_000
    run_job(worker, make_job(f"def f(x): return {texts[0]!r} + x\n{big}", [[texts[1]]], **LIMITED, trusted=True))
    run_job(worker, make_job(f"def f(x): return {texts[2]!r} + x\n{big}", [[texts[1]]], **LIMITED))
    source = f"{SCAN}\n# {texts[3]}\n"
    found = answer(worker, make_job(source, [[text[::-1] for text in texts]], **LIMITED))
    assert found[3] > 0, "the scanner must see its own source, or it proves nothing"
    assert found[:3] == [0, 0, 0]


def test_reference_solutions_have_a_server_of_their_own(worker: Worker) -> None:
    run_job(worker, make_job("def f(): return 1"))
    first = worker.pid
    run_job(worker, make_job("def f(): return 2"))
    assert worker.pid == first
    run_job(worker, make_job("def f(): return 3", trusted=True))
    reference = worker.pid
    assert reference != first
    run_job(worker, make_job("def f(): return 4"))
    assert worker.pid not in (first, reference)


PIPES = {
    "shrinks": "fcntl.fcntl(3, 1031, 4096)",
    "does not block": "os.set_blocking(3, False)",
    "asks for signals": "fcntl.fcntl(3, 10, 9)",
    "closes": "os.close(3)",
    "replaces": "os.dup2(0, 3)",
    "floods": "os.set_blocking(3, False); [os.write(3, b'x' * 4096) for _ in range(200)]",
    "half a frame": "os.write(3, b'P' * 20)",
}


@pytest.mark.parametrize("name", PIPES)
def test_harm_to_the_pipe_is_the_programs_own(name: str, worker: Worker) -> None:
    hostile = f"import fcntl, os\ntry:\n  {PIPES[name]}\nexcept OSError: pass\ndef f(): return None"
    long = make_job("def f(): return 'x' * 900_000")
    for _ in range(2):
        run_job(worker, make_job(hostile))
        server = worker.pid
        [frame], end = run_job(worker, long)
        assert (len(frame.body), end.reason) == (900_005, protocol.EXITED)
        assert worker.pid == server
    state = "import fcntl, os\ndef f(): return fcntl.fcntl(3, 1032), os.get_blocking(3)"
    assert answer(worker, make_job(state)) == (1 << 20, True)


def send(body: str, kind: str = "P") -> str:
    """A program that writes a frame of its own making."""
    return f"""
import os, struct
def f():
    body = {body}
    data = memoryview(struct.pack('<cIdQ', b'{kind}', 0, 0.0, len(body)) + body)
    while data: data = data[os.write(3, data):]
    os._exit(0)
"""


@pytest.mark.parametrize("kind", "PTDEXSGO?")
def test_frame_beyond_the_jobs_limit_is_never_held(kind: str, worker: Worker) -> None:
    job = make_job(send("b'[' + b'\\1' * (40 << 20)", kind), inline=1 << 16)
    tracemalloc.start()
    frames, end = run_job(worker, job)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [(frame.kind, frame.body) for frame in frames] == [(protocol.OVERLONG, b"")]
    assert end.reason == protocol.STOPPED
    assert peak < 8 << 20


BOMBS = {
    "empty sets": b"<\0\0\0\0",
    "empty lists": b"[\0\0\0\0",
    "empty dicts": b"{0",
    "texts": b"u\1\0\0\0x",
    "pairs": b"(\2\0\0\0NN",
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("size", [1 << 18, pytest.param(16 << 20, marks=pytest.mark.slow)])
def test_element_count_is_limited_before_values_are_built(
    name: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = LARGEST_VALUE * size // (16 << 20)
    monkeypatch.setattr("src.evaluation.sandbox.decode.LARGEST_VALUE", limit)
    count = size // len(BOMBS[name])
    body = b"[" + struct.pack("<i", count) + BOMBS[name] * count
    tracemalloc.start()
    try:
        decode(protocol.PLAIN, body)
    except Undecodable as error:
        assert "too large" in str(error)  # noqa: PT017 (some of them fit)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * limit


@pytest.mark.slow
def test_largest_honest_outputs_are_decoded() -> None:
    for value in (list(range(2_500_000)), [0.5] * 1_800_000, 7**5_000_000, {n: n for n in range(10**6)}):
        assert decode(protocol.PLAIN, marshal.dumps(value, protocol.MARSHAL_VERSION)) == value


@pytest.mark.parametrize("nested", [False, True])
def test_comparison_of_an_array_with_a_list_is_cheap(nested: bool) -> None:
    """numpy would compare each of the array's 60,000 elements with each of the list's."""
    sides, data = [60_000, 1], b"\1" * 60_000
    tree: Any = ("ndarray", "|u1", sides, data)
    body = marshal.dumps(("list", [tree]) if nested else tree, protocol.MARSHAL_VERSION)
    expected: Any = [list(range(13_000))] if nested else list(range(13_000))
    oracle = Oracle(Problem("T/0", "", "f", "", [[]], []))
    started = time.perf_counter()
    tracemalloc.start()
    output = decode(protocol.TAGGED, body)
    assert not oracle.is_right([], output, expected, floats_before=True, floats=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20
    assert time.perf_counter() - started < 1


FORGED: dict[str, Any] = {
    "bytearray of a number": ("bytearray", 2**31 - 1),
    "bytes of a number": ("sub", "bytes", ("=", 2**31 - 1)),
    "lists of ranges": ("list", [("sub", "list", ("range", 0, 10**6, 1))] * 800),
    "sets of ranges": ("list", [("sub", "set", ("range", 0, 10**6, 1))] * 800),
    "decimal of a tuple": ("Decimal", [0, [1] * 1000, 10**9]),
    "scalar that is an array": ("generic", "|u1", [60_000, 1], b"\1" * 60_000),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_trees_are_refused(name: str) -> None:
    tracemalloc.start()
    with pytest.raises(Undecodable):
        decode(protocol.TAGGED, marshal.dumps(FORGED[name], protocol.MARSHAL_VERSION))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


@pytest.mark.parametrize(
    "items",
    [[("range", 0, 10**6, 1)] * 800, [("=", "x" * 60_000)] + [("=", "")] * 799],
    ids=["ranges", "one long text"],
)
def test_tolerance_does_not_make_small_outputs_large(items: list[Any]) -> None:
    """As an array, 800 ranges would take 6 GB, and 800 texts, one of them long, 190 MB."""
    oracle = Oracle(Problem("T/0", "", "f", "", [[]], [], atol=1e-6))
    output = decode(protocol.TAGGED, marshal.dumps(("list", items), protocol.MARSHAL_VERSION))
    tracemalloc.start()
    assert not oracle.is_right([], output, [0.5] * 800, floats_before=True, floats=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_arrays_of_one_element_still_compare() -> None:
    body = marshal.dumps(("ndarray", "<i8", [1], np.int64(7).tobytes()), protocol.MARSHAL_VERSION)
    assert bool(decode(protocol.TAGGED, body) == [7])
    assert bool(decode(protocol.TAGGED, body) != [8])


PAGE = """
import sys, time
def page():
    frame = sys._getframe()
    while frame:
        for value in frame.f_locals.values():
            if isinstance(value, memoryview): return value
        frame = frame.f_back
"""


@pytest.mark.parametrize(
    "bump",
    [
        pytest.param("n % 5", id="in circles"),
        pytest.param("n", id="forward"),
        pytest.param("1 << 31 if n % 2 else 0", id="far", marks=pytest.mark.slow),
        pytest.param("0", id="back", marks=pytest.mark.slow),
    ],
)
def test_progress_counter_cannot_stretch_the_time_limit(
    bump: str, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    if bump == "n":  # only our patience ends it, here for a tenth of the time; the server has its own limit
        monkeypatch.setattr(protocol, "wall_limit", lambda cpu: (4 * cpu + 2) / 10)
    source = f"{PAGE}\ndef f(x):\n  n = 0\n  while True:\n    n += 1; page()[0] = {bump}; time.sleep(0.02)"
    job = make_job(source, [[n] for n in range(1000)], cpu_limits=(0.1, *[0.01] * 1000), cpu_total=20.0)
    limit = protocol.wall_limit(0.1) + job.patience
    frames, end = run_job(worker, job)
    assert (frames, end.reason) == ([], protocol.WALL_LIMIT)
    assert end.wall < limit + 1


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


def test_errors_of_the_sandbox_are_told_from_the_programs(worker: Worker) -> None:
    """A value that cannot be sent, and inputs that cannot be read: outside the program's code."""
    hostile = "class Angry:\n  __class__ = property(lambda self: 1 / 0)\ndef f(): return Angry()"
    [frame], _ = run_job(worker, make_job(hostile))
    assert (frame.kind, frame.body) == (protocol.HINDERED, b"ZeroDivisionError: division by zero")
    job = make_job("def f(): return 1")
    broken = Job(**{**job.__dict__, "inputs": b"?"})
    [frame], _ = run_job(worker, broken)
    assert (frame.kind, frame.index) == (protocol.HINDERED, 0)


def conclude(frames: list[Frame], end: End) -> tuple[str, bool]:
    checker = _OutputChecker(Oracle(Problem("T/0", "", "f", "", [[]], [])), [[]], Suite((), (0.0,), 1))
    for frame in frames:
        checker(frame)
    result = checker.conclude(end)
    return result.status, result.doubtful


@pytest.mark.parametrize(
    ("kind", "text", "doubtful"),
    [
        (protocol.HINDERED, b"ValueError: x", True),
        (protocol.RAISED, b"ValueError: x", False),
        (protocol.RAISED, b"MemoryError: ", True),
        (protocol.UNUSABLE, b"OSError: [Errno 24] Too many open files", True),
        (protocol.RAISED, b"RuntimeError: can't start new thread", True),
        (protocol.RAISED, b"RuntimeError: x", False),
        (protocol.OVERLONG, b"", False),
    ],
)
def test_failures_that_our_side_may_have_caused_are_doubtful(kind: bytes, text: bytes, doubtful: bool) -> None:
    stopped = End(protocol.STOPPED, 9, 0.1, 0.1, 0)
    assert conclude([Frame(kind, 0, 0.0, text)], stopped) == ("fail", doubtful)


@pytest.mark.parametrize("status", [0, 256, 9, 11, 31], ids=["exit 0", "exit 1", "SIGKILL", "SIGSEGV", "SIGSYS"])
def test_end_without_a_word_is_doubtful(status: int) -> None:
    assert conclude([], End(protocol.EXITED, status, 0.1, 0.1, 0)) == ("fail", True)
