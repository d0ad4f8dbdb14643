"""`conf/sandbox`: the judge of generated programs, with its sandboxes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from src.evaluation.generators.samples import Sample
from src.evaluation.grading.grade import Verdict, score_programs
from src.evaluation.grading.problems import problems_from_rows
from src.evaluation.sandbox.pool import Sandbox


class ProgramJudge:
    """Runs generated programs and judges them; keeps its sandboxes from one call to the next.

    Args:
        isolation: See `Sandbox`, as for all but `cache`.
        workers: Programs at a time; None is one a core.
        memory_mb: Address space of a program, in MiB.
        min_seconds: Smallest CPU limit of one test, in seconds.
        factor: A test's CPU limit is this many times the reference solution's time.
        cache: Directory of expected outputs; None is the user's cache directory.
    """

    def __init__(
        self,
        isolation: str = "auto",
        workers: int | None = None,
        memory_mb: int = 4096,
        min_seconds: float = 1.0,
        factor: float = 4.0,
        cache: str | None = None,
    ) -> None:
        self.sandbox = Sandbox(isolation, workers, memory_mb, min_seconds, factor)
        self.cache = None if cache is None else Path(cache)
        self.verdicts: list[Verdict] = []

    def __call__(
        self, problems: Sequence[dict[str, Any]], samples: Sequence[Sample], sanitize: bool | Sequence[bool] = False
    ) -> list[Verdict]:
        """One verdict a sample, in the order of `samples`.

        Args:
            problems: In EvalPlus's format.
            samples: Answers to them.
            sanitize: Reduce them first as EvalPlus does with what it generates; all, or one by one.

        Raises:
            UserError: A sample belongs to no problem, or programs cannot be isolated on this machine.
        """
        rows = [
            {"task_id": sample.task_id, "solution" if sample.whole else "completion": sample.completion}
            for sample in samples
        ]
        known = problems_from_rows(problems)
        self.verdicts = score_programs(known, rows, self.sandbox, self.cache, sanitize=sanitize)
        return self.verdicts

    def verdict_rows(self) -> list[dict[str, Any]]:
        """The last call's verdicts as the lines of `verdicts.jsonl`."""
        return [verdict.row() for verdict in self.verdicts]

    def close(self) -> None:
        """End the sandboxes; another call starts new ones."""
        self.sandbox.close()

    def __enter__(self) -> ProgramJudge:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
