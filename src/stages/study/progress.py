"""Progress of a study: one bar over all its runs, weighted by their usual duration."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from src.stages.study.plan import StudyPlan
from src.utils.progress import console, say
from src.utils.ranks import is_main_process

# Seconds on two cores. Only their ratios matter: the time left is scaled by the real duration of the steps so far.
USUAL_SECONDS = {"base": 46.0, "specialist": 45.0, "mix": 95.0, "merges": 2.0, "evaluation": 2.0}


class StudyProgress:
    """Print one line per finished run and a bar with the time left below it.

    Args:
        plan: The study that will be run.
    """

    def __init__(self, plan: StudyPlan) -> None:
        points, redrawn = (
            len(plan.methods) * len(plan.weights) + len(plan.methods_without_grid),
            len(plan.random_methods) * (len(plan.mask_seeds) - 1),
        )
        trained = 1 + len(plan.tasks) + plan.mixture
        evaluations = (
            trained * (1 + plan.mixture) + points + len(plan.methods) + len(plan.methods_without_grid) + redrawn
        )
        passes = (2 + bool(plan.random_methods)) * plan.mixture  # the grid, the chosen points, their other mask seeds
        total = USUAL_SECONDS["base"] + USUAL_SECONDS["mix"] * plan.mixture + passes * USUAL_SECONDS["merges"]
        total += len(plan.tasks) * USUAL_SECONDS["specialist"] + evaluations * USUAL_SECONDS["evaluation"]
        self._done = self._spent = 0.0
        self._bar = Progress(
            TextColumn("[bold]study[/]"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.description}"),
            console=console,
            disable=not (is_main_process() and console.is_terminal),
            transient=True,
        )
        self._task = self._bar.add_task("", total=total, left="")

    def __enter__(self) -> StudyProgress:
        self._bar.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._bar.stop()

    @contextlib.contextmanager
    def step(self, kind: str, label: str) -> Iterator[None]:
        """Time one run of the study; a run that was already finished prints nothing."""
        self._bar.update(self._task, description=label)
        started = time.monotonic()
        yield
        seconds = time.monotonic() - started
        self._advance(kind, seconds)
        if seconds > 1:
            say(f"  {label}: {seconds:.0f} s")

    def _advance(self, kind: str, seconds: float) -> None:
        expected = USUAL_SECONDS[kind]
        self._done += expected
        self._spent += seconds
        task = self._bar.tasks[self._task]
        total = task.total or self._done
        left = (total - self._done) * (self._spent / self._done)
        self._bar.update(self._task, advance=expected, left=f"about {left / 60:.1f} min left" if left > 5 else "")
