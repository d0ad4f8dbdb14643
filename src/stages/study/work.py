"""A step of a study, and its execution in a worker: run its jobs, and report how they ended as plain values."""

from __future__ import annotations

import contextlib
import io
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from src.config.command_line import explain
from src.stages.job import Job
from src.stages.merge.run import merge_all
from src.utils.errors import Interrupted, UserError, first_differences
from src.utils.progress import speaking_into

Stage = Callable[[Sequence[Job]], list[Path]]


@dataclass(frozen=True, eq=False)
class Step:
    """Jobs that one worker does in one go.

    Attributes:
        kind: `base`, `specialist`, `mix`, `merges`, `evaluation`, `diagnosis` or `study`.
        label: What it does, for the progress bar and for messages.
        stage: Runs the jobs; finished ones are reused.
        jobs: At least one.
        needs: Keys of the steps whose results it reads.
        seconds: Expected duration; only the ratios matter.
    """

    kind: str
    label: str
    stage: Stage
    jobs: tuple[Job, ...]
    needs: tuple[str, ...] = ()
    seconds: float = 1.0

    @cached_property
    def key(self) -> str:
        """The commands: equal steps of several cells are one."""
        return "\n".join(" ".join(job.command) for job in self.jobs)


@dataclass(frozen=True)
class Outcome:
    """The end of a step.

    Attributes:
        places: Run directory of each job, if all have succeeded.
        problem: One line for the user, or the traceback of a bug of ours; None: success.
        is_bug: True if `problem` is a traceback.
        signal: Number of the signal that interrupted the step, else None.
        lines: What the jobs said, if it was not printed at once.
    """

    places: tuple[Path, ...] = ()
    problem: str | None = None
    is_bug: bool = False
    signal: int | None = None
    lines: str = ""


def merge_together(jobs: Sequence[Job]) -> list[Path]:
    """Merge points in one pass over their parents.

    Raises:
        UserError: A point could not be merged; the others have been.
    """
    results = merge_all(jobs)
    made = [result for result in results if not isinstance(result, UserError)]
    if len(made) < len(results):
        pairs = zip(jobs, results, strict=True)
        failed = [f"{' '.join(job.command)}: {error}" for job, error in pairs if isinstance(error, UserError)]
        raise UserError(first_differences(f"{len(failed)} of {len(results)} merges failed", failed))
    return made


def outcome_of(step: Step, quiet: bool) -> Outcome:
    """Carry out a step and return how it ended.

    Args:
        step: The step.
        quiet: Keep what its jobs say for the outcome, in a process that does not own the terminal.
    """
    said = io.StringIO()
    with speaking_into(said) if quiet else contextlib.nullcontext():
        try:
            return Outcome(tuple(step.stage(step.jobs)), lines=said.getvalue())
        except Interrupted as request:
            return Outcome(signal=request.number, lines=said.getvalue())
        except Exception as error:
            line = explain(error)
            return Outcome(problem=line or traceback.format_exc(), is_bug=line is None, lines=said.getvalue())
