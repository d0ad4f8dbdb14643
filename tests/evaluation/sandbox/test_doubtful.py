"""Failures that our side may have caused are told from the program's own."""

from __future__ import annotations

import pytest

from src.evaluation.grading.forms.expected_outputs import Suite
from src.evaluation.grading.forms.oracles import Oracle
from src.evaluation.grading.forms.problems import Problem
from src.evaluation.grading.forms.run_tests import _OutputChecker
from src.evaluation.sandbox import protocol
from src.evaluation.sandbox.jobs import End, Frame, Job
from src.evaluation.sandbox.worker import Worker
from tests.evaluation.sandbox.conftest import make_job, run_job


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
