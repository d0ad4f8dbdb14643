"""Grade generated programs: run them in the sandbox and compare with the reference solutions, like EvalPlus."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from src.evaluation.generators.samples import Sample
from src.evaluation.grading.expected_outputs import ExpectedOutputs, expected_outputs
from src.evaluation.grading.problems import Problem, problems_from_rows
from src.evaluation.grading.programs import candidate_programs, fenced_code, program_text
from src.evaluation.grading.run_tests import PASS, run_suite
from src.evaluation.grading.sanitize_in_sandbox import sanitize_in_sandbox
from src.evaluation.sandbox.pool import Sandbox
from src.evaluation.sandbox.worker import Worker
from src.utils.errors import UserError, first_differences
from src.utils.progress import progress_bar

GRADING_RULES = 2  # raise it with every change that can change a verdict: it is part of an evaluation's identity


@dataclass(frozen=True)
class ProgramResult:
    """Result of one program on its problem's tests.

    Attributes:
        task_id: The problem.
        sample: Index of the program among those of its problem, from 0.
        base: `pass`, `fail` or `timeout` on the original tests.
        plus: The same on original and added tests together.
        detail: Reason for a failure; empty if it passed.
        flaky: It timed out or was killed while others ran, and got a different result when run again alone.
    """

    task_id: str
    sample: int
    base: str
    plus: str
    detail: str = ""
    flaky: bool = False

    def row(self) -> dict[str, Any]:
        """Return its line of `verdicts-<benchmark>.jsonl`."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class _Program:
    """A program to run: its index, its candidate texts, and the expected outputs."""

    problem: Problem
    expected: ExpectedOutputs
    sample: int
    candidates: tuple[str, ...]


def score_programs(
    problems: Sequence[Problem],
    samples: Iterable[dict[str, Any]],
    sandbox: Sandbox,
    cache: Path | None = None,
    sanitize: bool | Sequence[bool] = False,
) -> list[ProgramResult]:
    """Run programs on their problems' tests and compare their outputs by EvalPlus's rules.

    Args:
        problems: The benchmark.
        samples: Dicts with `task_id` and `solution` (a whole program) or `completion` (see `candidate_programs`), in
            any order, any number per problem; those of other problems are an error.
        sandbox: Where they run.
        cache: Directory of expected outputs; None: the user's cache directory.
        sanitize: First reduce a text to what its entry point needs, as EvalPlus does for texts that it generates (but
            not for sample files); for all samples, or one value per sample.

    Returns:
        One result per sample, in the order of `samples`.

    Raises:
        UserError: A sample belongs to no problem, or has no program.
    """
    rows = list(samples)
    by_id = {problem.task_id: problem for problem in problems}
    _check(rows, by_id)
    used = [by_id[task_id] for task_id in dict.fromkeys(row["task_id"] for row in rows)]
    expected = dict(zip((problem.task_id for problem in used), expected_outputs(used, sandbox, cache), strict=True))
    wanted = [sanitize] * len(rows) if isinstance(sanitize, bool) else list(sanitize)
    texts = _texts(rows, wanted, by_id, sandbox)
    counter: Counter[str] = Counter()
    programs = []
    for row, candidates in zip(rows, texts, strict=True):
        task = row["task_id"]
        programs.append(_Program(by_id[task], expected[task], counter[task], candidates))
        counter[task] += 1
    return _run_all(programs, sandbox, cache)


def flaky_tasks(results: Iterable[ProgramResult]) -> list[str]:
    """List the tasks with a program whose result changed when it was run again on its own."""
    return sorted({result.task_id for result in results if result.flaky})


def _check(rows: list[dict[str, Any]], by_id: dict[str, Problem]) -> None:
    wrong = []
    for number, row in enumerate(rows, 1):
        if row.get("task_id") not in by_id:
            wrong.append(f"sample {number} is for {row.get('task_id')!r}, which the benchmark does not have")
        elif not isinstance(row.get("solution", row.get("completion")), str):
            wrong.append(f"sample {number} ({row['task_id']}) has neither `solution` nor `completion` text")
    if wrong:
        raise UserError(first_differences("samples and benchmark do not match", wrong))


def _texts(
    rows: list[dict[str, Any]], wanted: list[bool], by_id: dict[str, Problem], sandbox: Sandbox
) -> list[tuple[str, ...]]:
    """Return the texts to try per row; only the sanitized text if requested, otherwise one of several if fenced."""
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


def _run_all(programs: list[_Program], sandbox: Sandbox, cache: Path | None) -> list[ProgramResult]:
    # Equal answers run once. The slowest start first, so that no core is still busy with a slow one at the end.
    firsts = {
        (program.problem.task_id, program.candidates): index for index, program in reversed(list(enumerate(programs)))
    }
    order = sorted(firsts.values(), key=lambda index: -programs[index].expected.seconds)
    modules = {"numpy"} if any("numpy" in text for program in programs for text in program.candidates) else set()

    def run(worker: Worker, index: int) -> tuple[ProgramResult, bool]:
        return _run_one(worker, programs[index], sandbox, cache)

    with progress_bar() as bar:
        task = bar.add_task("programs", total=len(order))
        first = sandbox.map(run, order, modules, on_done=lambda: bar.advance(task))
        results = {index: result for index, (result, _) in zip(order, first, strict=True)}
        # A busy machine can make a correct program time out, so each doubtful one is run again with nothing else
        # running.
        doubtful = [index for index, (_, doubt) in zip(order, first, strict=True) if doubt]
        for index, (again, _) in zip(doubtful, sandbox.map(run, doubtful, modules, workers=1), strict=True):
            same = (again.base, again.plus) == (results[index].base, results[index].plus)
            results[index] = dataclasses.replace(again, flaky=not same)
    return [
        dataclasses.replace(results[firsts[program.problem.task_id, program.candidates]], sample=program.sample)
        for program in programs
    ]


def _run_one(worker: Worker, program: _Program, sandbox: Sandbox, cache: Path | None) -> tuple[ProgramResult, bool]:
    """Run one program; the flag requests a second run, on its own."""
    problem, expected = program.problem, program.expected
    last = run_suite(worker, program.candidates, problem, False, expected.base, sandbox, cache)
    base, name = last.status, "base"
    if base == PASS:
        last = run_suite(worker, program.candidates, problem, True, expected.plus, sandbox, cache)
        name = "plus"
    detail = f"{name}: {last.why}" if last.why else ""
    return ProgramResult(problem.task_id, program.sample, base, last.status, detail), last.doubtful


class ProgramJudge:
    """Run and grade generated programs (conf/sandbox); its sandboxes stay up between calls.

    Args:
        isolation: `auto`, `bubblewrap`, `unshare` or `unsafe`; see `Sandbox`.
        workers: Number of programs at a time; None: one per core.
        memory_mb: Address space of a program, in MiB.
        min_time_limit: CPU seconds that any test may take.
        gt_time_limit_factor: A test may take this many times the CPU time of the reference solution.
        cache: Directory of expected outputs; None: the user's cache directory.
    """

    def __init__(
        self,
        isolation: str = "auto",
        workers: int | None = None,
        memory_mb: int = 4096,
        min_time_limit: float = 1.0,
        gt_time_limit_factor: float = 4.0,
        cache: str | None = None,
    ) -> None:
        self.sandbox = Sandbox(isolation, workers, memory_mb, min_time_limit, gt_time_limit_factor)
        self.cache = None if cache is None else Path(cache)
        self.results: list[ProgramResult] = []

    def __call__(
        self, problems: Sequence[dict[str, Any]], samples: Sequence[Sample], sanitize: bool | Sequence[bool] = False
    ) -> list[ProgramResult]:
        """Return one result per sample, in the order of `samples`.

        Args:
            problems: In EvalPlus's format.
            samples: Answers to them.
            sanitize: First reduce them as EvalPlus does for texts that it generates; for all, or one value per sample.

        Raises:
            UserError: A sample belongs to no problem, or programs cannot be isolated on this machine.
        """
        rows = [
            {"task_id": sample.task_id, "solution" if sample.whole else "completion": sample.completion}
            for sample in samples
        ]
        known = problems_from_rows(problems)
        self.results = score_programs(known, rows, self.sandbox, self.cache, sanitize=sanitize)
        return self.results

    def verdict_rows(self) -> list[dict[str, Any]]:
        """Return the last call's results as the lines of `verdicts-<benchmark>.jsonl`."""
        return [result.row() for result in self.results]

    def close(self) -> None:
        """End the sandboxes; the next call starts new ones."""
        self.sandbox.close()

    def __enter__(self) -> ProgramJudge:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
