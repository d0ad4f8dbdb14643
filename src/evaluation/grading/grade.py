"""Grade generated programs: run them in the sandbox and compare with the reference solutions, like EvalPlus."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from src.evaluation.grading.forms import prepare_tests, read_problems
from src.evaluation.grading.outcome import RunnableTests, TestedProblem
from src.evaluation.grading.problems import INPUTS
from src.evaluation.grading.programs import Answer, answer_of_row
from src.evaluation.grading.recheck import Recheck, recheck_places
from src.evaluation.grading.run_tests import LOADING, PARSING, PASS, Failure
from src.evaluation.grading.sanitize_in_sandbox import SanitizeFunction, sanitize_in_sandbox
from src.evaluation.sandbox.pool import Sandbox
from src.evaluation.sandbox.worker import Worker
from src.utils.errors import UserError, first_differences
from src.utils.progress import progress_bar

FALLBACK, EVALPLUS, NEVER = SANITIZE = ("fallback", "evalplus", "never")
GRADING_RULES = 4  # raise it with every change that can change a verdict: it is part of an evaluation's identity


@dataclass(frozen=True)
class ProgramResult:
    """Result of one program on its problem's tests.

    Attributes:
        task_id: The problem.
        sample: Index of the program among those of its problem, from 0.
        base: `pass`, `fail` or `timeout` on the original tests.
        plus: The same on original and added tests together.
        detail: Reason for a failure; empty if it passed.
        flaky: It got another result when it ran again: alone, since the machine may have caused the first result (the
            second counts), or with another hash seed (the first counts).
        failure: The test that it failed; not part of its line of `verdicts-<benchmark>.jsonl`.
    """

    task_id: str
    sample: int
    base: str
    plus: str
    detail: str = ""
    flaky: bool = False
    failure: Failure = dataclasses.field(default=Failure(), compare=False, repr=False)

    def row(self) -> dict[str, Any]:
        """Return its line of `verdicts-<benchmark>.jsonl`."""
        row = dataclasses.asdict(self)
        del row["failure"]
        return row


@dataclass(frozen=True)
class _Program:
    """A program to run: its index, its candidate texts, its problem's tests, and what it was taken from."""

    problem: TestedProblem
    tests: RunnableTests
    sample: int
    candidates: tuple[str, ...]
    raw: str
    chat: bool


@dataclass(frozen=True)
class _Run:
    """Result of a run; `doubtful` requests another one, alone; `failed_in`: see `SuiteResult`; `texts` were tried."""

    result: ProgramResult
    doubtful: bool
    failed_in: str
    texts: tuple[str, ...]


def score_programs(
    problems: Sequence[TestedProblem],
    samples: Iterable[dict[str, Any]],
    sandbox: Sandbox,
    cache: Path | None = None,
    sanitize: str = NEVER,
) -> list[ProgramResult]:
    """Grade the rows of a samples file (see `score_answers`).

    Args:
        problems: The benchmark.
        samples: Dicts with `task_id` and `solution` or `completion` (see `answer_of_row`), in any order, any number per
            problem; those of other problems are an error.
        sandbox: Where they run.
        cache: Directory of expected outputs; None: the user's cache directory.
        sanitize: One of `SANITIZE`.

    Returns:
        One result per sample, in the order of `samples`.

    Raises:
        UserError: A sample belongs to no problem, or has no program.
    """
    rows = list(samples)
    by_id = {problem.task_id: problem for problem in problems}
    _check(rows, by_id)
    owners = [by_id[row["task_id"]] for row in rows]
    answers = [
        answer_of_row(row, problem.prompt, problem.entry_point) for row, problem in zip(rows, owners, strict=True)
    ]
    return score_answers(problems, answers, sandbox, cache, sanitize).results


@dataclass(frozen=True)
class Grades:
    """Results of answers, in their order.

    Attributes:
        results: With the chosen way to sanitize.
        texts: Texts of each program, of which the first that compiles was run.
        others: With the other one of `FALLBACK` and `EVALPLUS`; None if it was not asked for.
        recheck: Programs that ran again.
    """

    results: list[ProgramResult]
    texts: list[tuple[str, ...]]
    others: list[ProgramResult] | None = None
    recheck: Recheck = dataclasses.field(default_factory=Recheck)


def score_answers(
    problems: Sequence[TestedProblem],
    answers: Sequence[Answer],
    sandbox: Sandbox,
    cache: Path | None = None,
    sanitize: str = FALLBACK,
    both: bool = False,
    recheck: float = 0.0,
) -> Grades:
    """Run programs on their problems' tests.

    Args:
        problems: The benchmark.
        answers: Answers to its problems.
        sandbox: Where they run.
        cache: Directory of expected outputs; None: the user's cache directory.
        sanitize: `fallback`: the whole answer, or its code block, is the program; where none of these is Python, the
            longest stretch of lines that is. Where the top level of a chat answer or of such a stretch fails, what
            EvalPlus's sanitizer leaves. `evalplus`: all answers are sanitized. `never`: none is.
        both: Also grade with the other way to sanitize; programs that are equal both ways run once.
        recheck: Share of the programs that run again with another hash seed, and the doubtful ones; 0: none.
    """
    by_id = {problem.task_id: problem for problem in problems}
    used = [by_id[task_id] for task_id in dict.fromkeys(answer.task_id for answer in answers)]
    if any(problem.form == INPUTS for problem in used):  # other forms may need other sandboxes
        sandbox.start_early(len(answers))
    tests = prepare_tests(used, sandbox, cache)
    counter: Counter[str] = Counter()
    programs = []
    for answer in answers:
        task = answer.task_id
        programs.append(_Program(by_id[task], tests[task], counter[task], answer.texts, answer.raw, answer.chat))
        counter[task] += 1

    def as_evalplus(places: Sequence[int]) -> list[_Run]:
        chosen = [dataclasses.replace(programs[place], candidates=(reduced[place],)) for place in places]
        return _run_all(chosen, sandbox)

    def with_fallback(places: Sequence[int]) -> list[_Run]:
        return _run_with_fallback([programs[place] for place in places], sandbox)

    everything = range(len(programs))
    if sanitize == NEVER:
        return _grades(*_rechecked(programs, _run_all(programs, sandbox), recheck, sandbox))
    reduced = _sanitized(programs, sandbox, "sanitize") if both or sanitize == EVALPLUS else []
    grade, other = (with_fallback, as_evalplus) if sanitize == FALLBACK else (as_evalplus, with_fallback)
    runs, again = _rechecked(programs, grade(everything), recheck, sandbox)
    if not both:
        return _grades(runs, again)
    differ = [place for place in everything if reduced[place].strip() != answers[place].texts[0].strip()]
    others = dict(zip(differ, other(differ), strict=True))
    return _grades(runs, again, [others.get(place, runs[place]).result for place in everything])


def _grades(runs: list[_Run], recheck: Recheck, others: list[ProgramResult] | None = None) -> Grades:
    return Grades([run.result for run in runs], [run.texts for run in runs], others, recheck)


def _rechecked(
    programs: list[_Program], runs: list[_Run], share: float, sandbox: Sandbox
) -> tuple[list[_Run], Recheck]:
    """Run some programs once more, with another hash seed, and mark those with another verdict; the first counts."""
    keys = [(run.result.task_id, *run.texts) for run in runs]
    places = recheck_places(keys, share, [place for place, run in enumerate(runs) if run.doubtful])
    chosen = [dataclasses.replace(programs[place], candidates=runs[place].texts) for place in places]
    changed = 0
    for place, again in zip(places, _run_all(chosen, sandbox.reseeded()), strict=True):
        first = runs[place].result
        if (first.base, first.plus) != (again.result.base, again.result.plus):
            runs[place] = dataclasses.replace(runs[place], result=dataclasses.replace(first, flaky=True))
            changed += 1
    return runs, Recheck(len(places), changed)


def flaky_tasks(results: Iterable[ProgramResult]) -> list[str]:
    """List the tasks with a program whose result changed when it ran again."""
    return sorted({result.task_id for result in results if result.flaky})


def _check(rows: list[dict[str, Any]], by_id: dict[str, TestedProblem]) -> None:
    wrong = []
    for number, row in enumerate(rows, 1):
        if row.get("task_id") not in by_id:
            wrong.append(f"sample {number} is for {row.get('task_id')!r}, which the benchmark does not have")
        elif not isinstance(row.get("solution", row.get("completion")), str):
            wrong.append(f"sample {number} ({row['task_id']}) has neither `solution` nor `completion` text")
    if wrong:
        raise UserError(first_differences("samples and benchmark do not match", wrong))


def _run_with_fallback(programs: list[_Program], sandbox: Sandbox) -> list[_Run]:
    """Run programs as they stand, and those that cannot be run so once more, sanitized."""
    runs = _run_all(programs, sandbox)
    unparsed = [place for place, run in enumerate(runs) if run.failed_in == PARSING]
    _run_again(programs, runs, unparsed, "runnable_part", sandbox)
    loose = [place for place, program in enumerate(programs) if program.chat or place in unparsed]
    _run_again(programs, runs, [place for place in loose if runs[place].failed_in == LOADING], "sanitize", sandbox)
    return runs


def _run_again(
    programs: list[_Program],
    runs: list[_Run],
    places: list[int],
    function: SanitizeFunction,
    sandbox: Sandbox,
) -> None:
    """Replace the runs at `places` by those of sanitized texts, if these get further."""
    chosen = [programs[place] for place in places]
    texts = _sanitized(chosen, sandbox, function)
    again = [dataclasses.replace(program, candidates=(text,)) for program, text in zip(chosen, texts, strict=True)]
    for place, run in zip(places, _run_all(again, sandbox), strict=True):
        if run.failed_in not in (PARSING, runs[place].failed_in):  # else the first error is the better explanation
            runs[place] = run


def _sanitized(programs: list[_Program], sandbox: Sandbox, function: SanitizeFunction) -> list[str]:
    return sanitize_in_sandbox([(program.raw, program.problem.entry_point) for program in programs], sandbox, function)


def _run_all(programs: list[_Program], sandbox: Sandbox) -> list[_Run]:
    # Equal answers run once. The slowest start first, so that no core is still busy with a slow one at the end.
    firsts = {
        (program.problem.task_id, program.candidates): index for index, program in reversed(list(enumerate(programs)))
    }
    order = sorted(firsts.values(), key=lambda index: -programs[index].tests.seconds)
    modules = {"numpy"} if any("numpy" in text for program in programs for text in program.candidates) else set()
    modules |= {name for program in programs for name in program.tests.modules}

    def run(worker: Worker, index: int) -> _Run:
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


def _run_one(worker: Worker, program: _Program, sandbox: Sandbox) -> _Run:
    outcome = program.tests.run(worker, program.candidates, sandbox)
    base, last = outcome.base.status, outcome.plus
    result = ProgramResult(
        program.problem.task_id, program.sample, base, last.status, outcome.detail, failure=last.failure
    )
    return _Run(result, last.doubtful, last.failed_in, program.candidates)


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
        self.grades = Grades([], [])

    @property
    def results(self) -> list[ProgramResult]:
        """Results of the last call."""
        return self.grades.results

    def __call__(
        self,
        problems: Sequence[dict[str, Any]],
        answers: Sequence[Answer],
        sanitize: str = FALLBACK,
        recheck: float = 0.0,
    ) -> list[ProgramResult]:
        """Return one result per answer, in the order of `answers`.

        Args:
            problems: In EvalPlus's format, or with `tests` of another form (see `forms`).
            answers: Answers to them.
            sanitize: One of `SANITIZE`; see `score_answers`.
            recheck: Share of the programs to run again with another hash seed.

        Raises:
            UserError: Programs cannot be isolated on this machine.
        """
        known = read_problems(problems)
        self.grades = score_answers(known, answers, self.sandbox, self.cache, sanitize, True, recheck)
        return self.results

    def other_choice(self) -> dict[str, int] | None:
        """Count the verdicts that the other way to sanitize would change in the last call; None for `never`."""
        if self.grades.others is None:
            return None
        pairs = [
            ((here.base, here.plus), (there.base, there.plus))
            for here, there in zip(self.results, self.grades.others, strict=True)
        ]
        passes = [(PASS in here[1:], PASS in there[1:]) for here, there in pairs]
        return {
            "programs": len(pairs),
            "differ": sum(here != there for here, there in pairs),
            "pass_only_here": passes.count((True, False)),
            "pass_only_there": passes.count((False, True)),
        }

    def flaky(self) -> dict[str, Any]:
        """Return how many programs of the last call ran again, how many changed, and the tasks of flaky programs."""
        return {**dataclasses.asdict(self.grades.recheck), "tasks": flaky_tasks(self.results)}

    def verdict_rows(self) -> list[dict[str, Any]]:
        """Return the last call's results as the lines of `verdicts-<benchmark>.jsonl`."""
        return [result.row() for result in self.results]

    def detail_rows(self) -> list[dict[str, Any]]:
        """Return the last call's programs with the tests that they failed, for `details-<benchmark>.jsonl`."""
        return [
            {
                "task_id": result.task_id, "sample": result.sample, "passed": result.plus == PASS, "answer": texts[0],
                "detail": result.detail, **dataclasses.asdict(result.failure),
            }
            for result, texts in zip(self.results, self.grades.texts, strict=True)
        ]  # fmt: skip

    def close(self) -> None:
        """End the sandboxes; the next call starts new ones."""
        self.sandbox.close()

    def __enter__(self) -> ProgramJudge:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
