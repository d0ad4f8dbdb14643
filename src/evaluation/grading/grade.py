"""Functional correctness: which generated programs give the reference solution's answers (EvalPlus's pass and plus)."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.evaluation.grading.expected_outputs import ground_truths
from src.evaluation.grading.problems import Problem
from src.evaluation.grading.programs import candidate_programs, fenced_code, program_text
from src.evaluation.grading.run_tests import PASS, run_suite
from src.evaluation.grading.sanitize_in_sandbox import sanitize_in_sandbox
from src.evaluation.grading.truths import Truth
from src.evaluation.sandbox.pool import Sandbox
from src.evaluation.sandbox.worker import Worker
from src.utils.errors import UserError, first_differences
from src.utils.progress import progress_bar


@dataclass(frozen=True)
class Verdict:
    """What one program achieved.

    Attributes:
        task_id: The problem.
        sample: Number of the program among those of its problem, from 0.
        base: `pass`, `fail` or `timeout` on the original tests.
        plus: The same on original and added tests together.
        detail: Why it did not pass; empty where it did.
        flaky: Among other programs it ran out of time (or was killed), and run again alone it got another verdict.
    """

    task_id: str
    sample: int
    base: str
    plus: str
    detail: str = ""
    flaky: bool = False

    def row(self) -> dict[str, Any]:
        """The line of `verdicts.jsonl`."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class _Program:
    """A program to judge: its place among the results, its texts, and what it is judged by."""

    problem: Problem
    truth: Truth
    sample: int
    candidates: tuple[str, ...]


def score_programs(
    problems: Sequence[Problem],
    samples: Iterable[dict[str, Any]],
    sandbox: Sandbox,
    cache: Path | None = None,
    base_only: bool = False,
    sanitize: bool | Sequence[bool] = False,
) -> list[Verdict]:
    """Run programs on their problems' tests and judge their outputs by EvalPlus's rules.

    Args:
        problems: The benchmark.
        samples: Dicts with `task_id` and `solution` (a whole program) or `completion` (see `candidate_programs`), in
            any order, any number a problem; those of other problems are an error.
        sandbox: Where they run.
        cache: Directory of expected outputs; None is the user's cache directory.
        base_only: Leave out the added tests; `plus` then equals `base`.
        sanitize: First reduce a text to what its entry point needs, as EvalPlus does with what it generates (but not
            with files of samples); for all samples or one by one.

    Returns:
        One verdict a sample, in the order of `samples`.

    Raises:
        UserError: A sample belongs to no problem, or has no program.
    """
    rows = list(samples)
    by_id = {problem.task_id: problem for problem in problems}
    _check(rows, by_id)
    used = [by_id[task_id] for task_id in dict.fromkeys(row["task_id"] for row in rows)]
    truths = dict(zip((problem.task_id for problem in used), ground_truths(used, sandbox, cache), strict=True))
    wanted = [sanitize] * len(rows) if isinstance(sanitize, bool) else list(sanitize)
    texts = _texts(rows, wanted, by_id, sandbox)
    counter: Counter[str] = Counter()
    programs = []
    for row, candidates in zip(rows, texts, strict=True):
        task = row["task_id"]
        programs.append(_Program(by_id[task], truths[task], counter[task], candidates))
        counter[task] += 1
    return _judge_all(programs, sandbox, cache, base_only)


def flaky_tasks(verdicts: Iterable[Verdict]) -> list[str]:
    """Tasks with a program that got another verdict alone than among others."""
    return sorted({verdict.task_id for verdict in verdicts if verdict.flaky})


def _check(rows: list[dict[str, Any]], by_id: dict[str, Problem]) -> None:
    wrong = []
    for number, row in enumerate(rows, 1):
        if row.get("task_id") not in by_id:
            wrong.append(f"sample {number} is for {row.get('task_id')!r}, which the benchmark lacks")
        elif not isinstance(row.get("solution", row.get("completion")), str):
            wrong.append(f"sample {number} ({row['task_id']}) has neither `solution` nor `completion` text")
    if wrong:
        raise UserError(first_differences("samples and benchmark do not fit", wrong))


def _texts(
    rows: list[dict[str, Any]], wanted: list[bool], by_id: dict[str, Problem], sandbox: Sandbox
) -> list[tuple[str, ...]]:
    """The texts to try for each row: sanitized where that is wanted, and as one choice where there are fences."""
    texts = [candidate_programs(row, by_id[row["task_id"]]) for row in rows]
    jobs = {index: texts[index][0] for index, want in enumerate(wanted) if want}
    jobs |= {
        index: text for index, row in enumerate(rows) if index not in jobs and fenced_code(text := program_text(row))
    }
    pairs = [(text, by_id[rows[index]["task_id"]].entry_point) for index, text in jobs.items()]
    for index, reduced in zip(jobs, sanitize_in_sandbox(pairs, sandbox), strict=True):
        row = rows[index]
        texts[index] = (reduced,) if wanted[index] else candidate_programs(row, by_id[row["task_id"]], reduced)
    return texts


def _judge_all(programs: list[_Program], sandbox: Sandbox, cache: Path | None, base_only: bool) -> list[Verdict]:
    # Equal answers are judged once. The longest first: no core is left with a long one when the others are done.
    firsts = {
        (program.problem.task_id, program.candidates): index for index, program in reversed(list(enumerate(programs)))
    }
    order = sorted(firsts.values(), key=lambda index: -programs[index].truth.seconds)
    modules = {"numpy"} if any("numpy" in text for program in programs for text in program.candidates) else set()

    def judge(worker: Worker, index: int) -> tuple[Verdict, bool]:
        return _judge(worker, programs[index], sandbox, cache, base_only)

    with progress_bar() as bar:
        task = bar.add_task("programs", total=len(order))
        judged = sandbox.map(judge, order, modules, on_done=lambda: bar.advance(task))
        verdicts = {index: verdict for index, (verdict, _) in zip(order, judged, strict=True)}
        doubtful = [index for index, (_, doubt) in zip(order, judged, strict=True) if doubt]
        for index, (again, _) in zip(doubtful, sandbox.map(judge, doubtful, modules, workers=1), strict=True):
            same = (again.base, again.plus) == (verdicts[index].base, verdicts[index].plus)
            verdicts[index] = dataclasses.replace(again, flaky=not same)
    return [
        dataclasses.replace(verdicts[firsts[program.problem.task_id, program.candidates]], sample=program.sample)
        for program in programs
    ]


def _judge(
    worker: Worker, program: _Program, sandbox: Sandbox, cache: Path | None, base_only: bool
) -> tuple[Verdict, bool]:
    """The verdict, and whether it needs a second look, alone."""
    problem, truth = program.problem, program.truth
    last = run_suite(worker, program.candidates, problem, False, truth.base, sandbox, cache)
    base, name = last.status, "base"
    if base == PASS and not base_only:
        last = run_suite(worker, program.candidates, problem, True, truth.plus, sandbox, cache)
        name = "plus"
    detail = f"{name}: {last.why}" if last.why else ""
    return Verdict(problem.task_id, program.sample, base, last.status, detail), last.doubtful
