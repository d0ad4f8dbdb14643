"""One sandbox for the whole package, and a way to probe the powers of a program inside it."""

from __future__ import annotations

import marshal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from src.evaluation.sandbox import protocol
from src.evaluation.sandbox.decode import decode
from src.evaluation.sandbox.jobs import End, Frame, Job
from src.evaluation.sandbox.launch import Launch, find_launches
from src.evaluation.sandbox.pool import Sandbox
from src.evaluation.sandbox.worker import Worker, WorkerDied
from src.utils.errors import UserError

MEMORY = 512 << 20


def launches() -> list[Launch]:
    """All ways to isolate a program that this machine has."""
    try:
        return find_launches("auto")
    except UserError:
        return []


def make_job(source: str, inputs: list[Any] | None = None, **changes: Any) -> Job:
    """A job for the function `f` of `source`."""
    settings: dict[str, Any] = {
        "candidates": (source,),
        "entry_point": "f",
        "inputs": marshal.dumps([[]] if inputs is None else inputs, protocol.MARSHAL_VERSION),
        "cpu_limits": (1.0,),
        "cpu_total": 2.0,
        "memory": MEMORY,
        "inline": 1 << 20,
    }
    return Job(**settings | changes)


def run_job(worker: Worker, job: Job) -> tuple[list[Frame], End]:
    """All frames of a program and how it ended."""
    frames: list[Frame] = []

    def take(frame: Frame) -> bool:
        frames.append(frame)
        return True

    end = worker.run(job, take)
    return frames, end


def answer(worker: Worker, job: Job) -> Any:
    """Value that a program returns."""
    [frame], _ = run_job(worker, job)
    assert frame.kind in (protocol.PLAIN, protocol.TAGGED), frame
    return decode(frame.kind, frame.body)


EACH_WAY = [pytest.param(number, marks=[pytest.mark.slow] if number else []) for number in range(3)]


def launch_number(number: int) -> Launch:
    """The machine's first, second or third way to isolate; the caller's test is skipped where it has fewer."""
    found = launches()
    if number >= len(found):
        pytest.skip("no further way to isolate programs on this machine: install bubblewrap or util-linux")
    return found[number]


@pytest.fixture(scope="package", params=EACH_WAY)
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """One worker with short limits, by each way of isolation; those beyond the machine's first make slow tests."""
    launch = launch_number(request.param)
    with Sandbox(isolation="unsafe", workers=1, min_time_limit=0.1, memory_mb=MEMORY >> 20) as opened:
        opened.isolation, opened._launches = launch.name, [launch]
        try:
            opened.map(lambda worker, _: run_job(worker, make_job("def f(): return 1")), [0])
        except UserError as error:
            pytest.skip(str(error))
        yield opened


@pytest.fixture
def worker(sandbox: Sandbox) -> Worker:
    """The worker of the shared sandbox."""
    [found] = sandbox.map(lambda worker, _: worker, [0])
    return found


@pytest.fixture
def probe(sandbox: Sandbox) -> Callable[..., Any]:
    """Runs the body of a function in the sandbox and gives back what it returns, or the text of its exception."""

    def ask(body: str, *arguments: Any) -> Any:
        names = ", ".join(f"a{number}" for number in range(len(arguments)))
        lines = "\n".join("    " + line for line in body.strip("\n").splitlines())
        job = make_job(f"def f({names}):\n{lines}\n", [list(arguments)])
        [(frames, end)] = sandbox.map(lambda worker, job: run_job(worker, job), [job])
        if not frames:
            return f"no answer: {end.reason}, status {end.status}"
        if frames[0].kind in (protocol.RAISED, protocol.UNUSABLE, protocol.UNPARSED):
            return frames[0].body.decode()
        return decode(frames[0].kind, frames[0].body)

    return ask


@pytest.fixture(params=EACH_WAY)
def each_worker(request: pytest.FixtureRequest) -> Iterator[Worker]:
    """A worker by each way of isolation."""
    worker = Worker(launch_number(request.param))
    try:
        worker.start()
    except WorkerDied as death:
        pytest.skip(f"{worker.launch.name}: {death}")
    yield worker
    worker.close()
