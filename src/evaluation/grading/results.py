"""Result of one program on its problem's tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from src.evaluation.grading.forms.result import Failure


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


def flaky_tasks(results: Iterable[ProgramResult]) -> list[str]:
    """List the tasks with a program whose result changed when it ran again."""
    return sorted({result.task_id for result in results if result.flaky})
