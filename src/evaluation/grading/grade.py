"""Grade generated programs: run them in the sandbox and compare with the reference solutions, like EvalPlus."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.evaluation.grading.forms.outcome import TestedProblem
from src.evaluation.grading.forms.problems import INPUTS
from src.evaluation.grading.forms.registry import prepare_tests
from src.evaluation.grading.forms.result import LOADING, PARSING
from src.evaluation.grading.programs import Answer, answer_of_row
from src.evaluation.grading.recheck import Recheck, rechecked
from src.evaluation.grading.results import ProgramResult
from src.evaluation.grading.run_programs import Program, ProgramRun, run_programs
from src.evaluation.grading.sanitize_in_sandbox import SanitizeFunction, sanitize_in_sandbox
from src.evaluation.sandbox.pool import Sandbox
from src.utils.errors import UserError, first_differences

FALLBACK, EVALPLUS, NEVER = SANITIZE = ("fallback", "evalplus", "never")
GRADING_RULES = 4  # raise it with every change that can change a verdict: it is part of an evaluation's identity


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
    programs = _programs(problems, answers, sandbox, cache)
    if sanitize == NEVER:
        return _grades(*rechecked(programs, run_programs(programs, sandbox), recheck, sandbox))
    reduced = _reduced(programs, sandbox) if both or sanitize == EVALPLUS else programs
    if sanitize == EVALPLUS:
        runs, again = rechecked(reduced, run_programs(reduced, sandbox), recheck, sandbox)
    else:
        runs, again = rechecked(programs, _run_with_fallback(programs, sandbox), recheck, sandbox)
    if not both:
        return _grades(runs, again)
    others = [run.result for run in runs]
    differ = [place for place, program in enumerate(programs) if _is_other(program, reduced[place])]
    other = _run_with_fallback if sanitize == EVALPLUS else run_programs
    chosen = programs if sanitize == EVALPLUS else reduced
    for place, run in zip(differ, other([chosen[place] for place in differ], sandbox), strict=True):
        others[place] = run.result
    return _grades(runs, again, others)


def _programs(
    problems: Sequence[TestedProblem], answers: Sequence[Answer], sandbox: Sandbox, cache: Path | None
) -> list[Program]:
    """Make the tests ready, and number each problem's answers."""
    by_id = {problem.task_id: problem for problem in problems}
    used = [by_id[task_id] for task_id in dict.fromkeys(answer.task_id for answer in answers)]
    if any(problem.form == INPUTS for problem in used):  # other forms may need other sandboxes
        sandbox.start_early(len(answers))
    tests = prepare_tests(used, sandbox, cache)
    counter: Counter[str] = Counter()
    programs = []
    for answer in answers:
        task = answer.task_id
        programs.append(Program(by_id[task], tests[task], counter[task], answer.texts, answer.raw, answer.chat))
        counter[task] += 1
    return programs


def _reduced(programs: Sequence[Program], sandbox: Sandbox) -> list[Program]:
    """Replace programs by what EvalPlus's sanitizer leaves of them."""
    texts = _sanitized(programs, sandbox, "sanitize")
    return [dataclasses.replace(program, candidates=(text,)) for program, text in zip(programs, texts, strict=True)]


def _is_other(program: Program, reduced: Program) -> bool:
    return reduced.candidates[0].strip() != program.candidates[0].strip()


def _grades(runs: list[ProgramRun], recheck: Recheck, others: list[ProgramResult] | None = None) -> Grades:
    return Grades([run.result for run in runs], [run.texts for run in runs], others, recheck)


def _check(rows: list[dict[str, Any]], by_id: dict[str, TestedProblem]) -> None:
    wrong = []
    for number, row in enumerate(rows, 1):
        if row.get("task_id") not in by_id:
            wrong.append(f"sample {number} is for {row.get('task_id')!r}, which the benchmark does not have")
        elif not isinstance(row.get("solution", row.get("completion")), str):
            wrong.append(f"sample {number} ({row['task_id']}) has neither `solution` nor `completion` text")
    if wrong:
        raise UserError(first_differences("samples and benchmark do not match", wrong))


def _run_with_fallback(programs: Sequence[Program], sandbox: Sandbox) -> list[ProgramRun]:
    """Run programs as they stand, and those that cannot be run so once more, sanitized."""
    runs = run_programs(programs, sandbox)
    unparsed = [place for place, run in enumerate(runs) if run.failed_in == PARSING]
    _run_again(programs, runs, unparsed, "runnable_part", sandbox)
    loose = [place for place, program in enumerate(programs) if program.chat or place in unparsed]
    _run_again(programs, runs, [place for place in loose if runs[place].failed_in == LOADING], "sanitize", sandbox)
    return runs


def _run_again(
    programs: Sequence[Program],
    runs: list[ProgramRun],
    places: list[int],
    function: SanitizeFunction,
    sandbox: Sandbox,
) -> None:
    """Replace the runs at `places` by those of sanitized texts, if these get further."""
    chosen = [programs[place] for place in places]
    texts = _sanitized(chosen, sandbox, function)
    again = [dataclasses.replace(program, candidates=(text,)) for program, text in zip(chosen, texts, strict=True)]
    for place, run in zip(places, run_programs(again, sandbox), strict=True):
        if run.failed_in not in (PARSING, runs[place].failed_in):  # else the first error is the better explanation
            runs[place] = run


def _sanitized(programs: Sequence[Program], sandbox: Sandbox, function: SanitizeFunction) -> list[str]:
    return sanitize_in_sandbox([(program.raw, program.problem.entry_point) for program in programs], sandbox, function)
