"""Run a program in any language: build the first of its texts that compiles, and tell how a run of it ended."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from src.evaluation.grading.forms.languages import Program, Toolchain
from src.evaluation.grading.forms.outcome import Outcome
from src.evaluation.grading.forms.result import FAIL, PARSING, TIMEOUT, SuiteResult
from src.evaluation.sandbox import protocol
from src.evaluation.sandbox.processes import ProcessResult
from src.evaluation.sandbox.worker import Worker, WorkerDied

MOST_TEXTS = 4  # to try: a compiler takes seconds
LONGEST_REASON = 300
# In standard error of right programs on a machine that is short of something.
SCARCITY = re.compile(
    rb"MemoryError|OutOfMemory|out of memory|bad_alloc|annot allocate memory|start new thread|create native thread"
    rb"|temporarily unavailable|EAGAIN|Too many open files|No space left"
)
_ERROR_LINE = re.compile(r"\b(?:\w*Error|\w*Exception|error|panicked|terminate called)\b")


@dataclass(frozen=True)
class Built:
    """A program that is ready to run, or the reason why it is not."""

    program: Program | None
    failure: SuiteResult | None = None


def build(worker: Worker, toolchain: Toolchain, texts: Sequence[str]) -> Built:
    """Compile or check texts until one is accepted.

    Args:
        worker: Of `Worker.for_commands`.
        toolchain: The language.
        texts: Candidates, best first; at most `MOST_TEXTS` are tried.
    """
    first: SuiteResult | None = None
    for text in texts[:MOST_TEXTS]:
        program = toolchain.program(text)
        job = program.build_job()
        result = None if job is None else worker.run_process(job)
        if result is None or (result.exit_code == 0 and result.end.reason == protocol.EXITED):
            return Built(program)
        first = first or _not_built(result)
    return Built(None, first or SuiteResult(FAIL, "no program in the answer", failed_in=PARSING))


def outcome_of(run: Callable[[], SuiteResult]) -> Outcome:
    """Call `run`, once more if the sandbox dies, for an outcome of tests that have no added ones."""
    result = SuiteResult(FAIL, "the sandbox ended twice", doubtful=True)
    for _ in range(2):
        with contextlib.suppress(WorkerDied):
            result = run()
            break
    return Outcome(result, result, result.why)


def failed_run(result: ProcessResult) -> SuiteResult | None:
    """Return the result of a run that ended badly; None for exit code 0."""
    if result.end.reason in (protocol.CPU_LIMIT, protocol.WALL_LIMIT):
        return SuiteResult(TIMEOUT, result.end.reason, doubtful=True)
    if result.overlong:
        return SuiteResult(FAIL, "an output beyond its limit")
    if result.not_started:
        return SuiteResult(FAIL, _text(result.stderr)[:LONGEST_REASON], doubtful=True)
    code = result.exit_code
    if code == 0:
        return None
    words = f"exit code {code}" if code > 0 else f"killed by signal {-code}"
    reason = error_line(result.stderr)
    doubtful = code == -9 or SCARCITY.search(result.stderr) is not None
    return SuiteResult(FAIL, f"{words}: {reason}" if reason else words, doubtful)


def error_line(stderr: bytes, last: bool = True) -> str:
    """Return the line of standard error that says most: the last (or first) with an error, else the last (or first)."""
    lines = [line.strip() for line in _text(stderr).splitlines() if line.strip()]
    telling = [line for line in lines if _ERROR_LINE.search(line)] or lines
    return telling[-1 if last else 0][:LONGEST_REASON] if telling else ""


def _not_built(result: ProcessResult) -> SuiteResult:
    if result.end.reason in (protocol.CPU_LIMIT, protocol.WALL_LIMIT):
        return SuiteResult(TIMEOUT, f"the compiler: {result.end.reason}", doubtful=True)
    scarce = result.not_started or result.exit_code == -9 or SCARCITY.search(result.stderr) is not None
    reason = error_line(result.stderr, last=False) or error_line(result.stdout, last=False)
    return SuiteResult(FAIL, f"syntax or compile error: {reason}"[:LONGEST_REASON], scarce, PARSING)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
