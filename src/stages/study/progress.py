"""Progress of a study: one bar over its steps, weighted by their expected duration."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from src.stages.study.work import Step
from src.utils.progress import console, say
from src.utils.ranks import is_main_process


class StudyProgress:
    """Print one line per finished step and a bar with the time left below it."""

    def __init__(self) -> None:
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
        self._task = self._bar.add_task("", total=0.0, left="")
        self._began = time.monotonic()
        self._running: dict[str, tuple[Step, float]] = {}

    @contextlib.contextmanager
    def of(self, steps: Iterable[Step]) -> Iterator[None]:
        """Show the bar while these steps run; those of an earlier call stay counted."""
        total = (self._bar.tasks[self._task].total or 0.0) + sum(step.seconds for step in steps)
        self._bar.update(self._task, total=total)
        self._bar.start()
        try:
            yield
        finally:
            self._bar.stop()

    def started(self, step: Step) -> None:
        """Name a step beside the bar."""
        self._running[step.key] = (step, time.monotonic())
        self._show()

    def finished(self, step: Step) -> None:
        """Count a step; one that was already finished prints nothing."""
        _, started = self._running.pop(step.key)
        seconds = time.monotonic() - started
        if seconds > 1:
            say(f"  {step.label}: {seconds:.0f} s")
        self._bar.update(self._task, advance=step.seconds)
        self._show()

    def _show(self) -> None:
        task = self._bar.tasks[self._task]
        spent, total = time.monotonic() - self._began, task.total or 0.0
        left = (total - task.completed) * spent / task.completed if task.completed else 0.0
        names = ", ".join(step.label for step, _ in self._running.values())
        self._bar.update(self._task, description=names, left=f"about {left / 60:.1f} min left" if left > 5 else "")
