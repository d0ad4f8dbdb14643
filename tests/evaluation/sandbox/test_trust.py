"""Nothing that a program can reach has held another program, and nothing it does to its own things lasts."""

from __future__ import annotations

import pytest

from src.evaluation.sandbox import protocol
from src.evaluation.sandbox.worker import Worker
from tests.evaluation.sandbox.conftest import answer, make_job, run_job

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


OWN_LOOP = """
import sys, time
run = sys.modules["src.evaluation.sandbox.guest.run"]
clock = time.process_time
def loop(function, inputs, inline, collect, frames, progress):
    for index, arguments in enumerate(inputs):
        kind, body = run.encode(function(*arguments), inline, collect)
        frames.add(kind, index, 0.0, body)
        frames.flush()
run._call_all = loop
def f(x):
    end = clock() + 0.12
    while clock() < end: pass
    return x
"""


def test_the_limit_of_loading_holds_while_the_counter_is_left_at_0(worker: Worker) -> None:
    """A program with a loop of its own exceeds the limit of each test, and is ended by the limit of loading in all."""
    frames, end = run_job(
        worker, make_job(OWN_LOOP, [[n] for n in range(9)], cpu_limits=(0.4, *[0.1] * 9), cpu_total=9)
    )
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert 1 <= len(frames) <= 3  # right ones, later than allowed
    assert end.reason == protocol.CPU_LIMIT
    assert end.cpu < 0.4 + 0.2
