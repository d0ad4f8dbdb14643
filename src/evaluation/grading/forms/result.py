"""Result of a program on one suite of tests, and the test that it failed."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass

from src.evaluation.sandbox import protocol

PASS, FAIL, TIMEOUT = "pass", "fail", "timeout"
PARSING, LOADING = "parsing", "loading"
FAILED_IN = {protocol.UNPARSED: PARSING, protocol.UNUSABLE: LOADING}
LOAD_SECONDS = 10.0  # CPU time for a program's top level with its imports
LONGEST_REASON = 300
# Exceptions of right programs on a machine that is short of something.
SCARCITY = (b"MemoryError", b"OSError", b"BlockingIOError", b"RuntimeError: can't start new thread")

SHORT = reprlib.Repr()
SHORT.maxlist = SHORT.maxtuple = SHORT.maxset = SHORT.maxdict = 40
SHORT.maxstring = SHORT.maxother = SHORT.maxlong = 400


@dataclass(frozen=True)
class Failure:
    """The test that a program failed, as shortened Python literals.

    Attributes:
        input: Its arguments.
        expected: Output of the reference solution.
        got: Output of the program, or the reason why there is none.
    """

    input: str = ""
    expected: str = ""
    got: str = ""


@dataclass(frozen=True)
class SuiteResult:
    """Result of a program on one suite.

    Attributes:
        status: `pass`, `fail` or `timeout`.
        why: Reason for a failure; empty if it passed.
        doubtful: The machine or our own code in the program's process may be the cause: it ran out of time, its process
            ended without a word, or an error arose that a lack of memory, threads or files brings about.
        failed_in: `parsing` if none of the program's texts is Python, `loading` if its top level fails; else empty.
        failure: The test that it failed; empty if it passed or failed before the first test.
    """

    status: str
    why: str = ""
    doubtful: bool = False
    failed_in: str = ""
    failure: Failure = Failure()
