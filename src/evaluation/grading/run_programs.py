"""Run many programs on their problems' tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from src.evaluation.grading.forms.outcome import RunnableTests, TestedProblem
from src.evaluation.grading.results import ProgramResult
from src.evaluation.sandbox.pool import Sandbox
from src.evaluation.sandbox.worker import Worker
from src.utils.progress import progress_bar


@dataclass(frozen=True)
class Program:
    """A program to run: its index, its candidate texts, its problem's tests, and what it was taken from."""

    problem: TestedProblem
    tests: RunnableTests
    sample: int
    candidates: tuple[str, ...]
    raw: str
    chat: bool


@dataclass(frozen=True)
class ProgramRun:
    """Result of a run; `doubtful` requests another one, alone; `failed_in`: see `SuiteResult`; `texts` were tried."""

    result: ProgramResult
    doubtful: bool
    failed_in: str
    texts: tuple[str, ...]


def run_programs(programs: Sequence[Program], sandbox: Sandbox) -> list[ProgramRun]:
    """Run programs on their problems' tests; equal programs run once, and doubtful ones again, alone.

    Returns:
        One run per program, in order.
    """
    # The slowest start first, so that no core is still busy with a slow one at the end.
    firsts = {
        (program.problem.task_id, program.candidates): index for index, program in reversed(list(enumerate(programs)))
    }
    order = sorted(firsts.values(), key=lambda index: -programs[index].tests.seconds)
    modules = {"numpy"} if any("numpy" in text for program in programs for text in program.candidates) else set()
    modules |= {name for program in programs for name in program.tests.modules}

    def run(worker: Worker, index: int) -> ProgramRun:
        return _run_one(worker, programs[index], sandbox)

    with progress_bar() as bar:
        task = bar.add_task("programs", total=len(order))
        first = sandbox.map(run, order, modules, on_done=lambda: bar.advance(task))
        runs = dict(zip(order, first, strict=True))
        # A busy machine can make a correct program time out, so each doubtful one is run again with nothing else
        # running.
        doubtful = [index for index in order if runs[index].doubtful]
        for index, again in zip(doubtful, sandbox.map(run, doubtful, modules, workers=1), strict=True):
            before = runs[index].result
            same = (again.result.base, again.result.plus) == (before.base, before.plus)
            runs[index] = dataclasses.replace(again, result=dataclasses.replace(again.result, flaky=not same))
    mine = [runs[firsts[program.problem.task_id, program.candidates]] for program in programs]
    return [
        dataclasses.replace(run, result=dataclasses.replace(run.result, sample=program.sample))
        for run, program in zip(mine, programs, strict=True)
    ]


def _run_one(worker: Worker, program: Program, sandbox: Sandbox) -> ProgramRun:
    outcome = program.tests.run(worker, program.candidates, sandbox)
    base, last = outcome.base.status, outcome.plus
    result = ProgramResult(
        program.problem.task_id, program.sample, base, last.status, outcome.detail, failure=last.failure
    )
    return ProgramRun(result, last.doubtful, last.failed_in, program.candidates)
