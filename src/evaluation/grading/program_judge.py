"""Grade a benchmark's answers one after another, with sandboxes that stay up (conf/sandbox)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from src.evaluation.grading.forms.registry import read_problems
from src.evaluation.grading.forms.result import PASS
from src.evaluation.grading.grade import FALLBACK, Grades, score_answers
from src.evaluation.grading.programs import Answer
from src.evaluation.grading.results import ProgramResult, flaky_tasks
from src.evaluation.sandbox.pool import Sandbox


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
