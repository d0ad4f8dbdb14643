"""Progress of a study: what runs on each worker, and how long is left, from measured times of the same kind of step."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from src.stages.study.work import Step
from src.utils.progress import console, say
from src.utils.ranks import is_main_process

REUSED = 0.2  # seconds: a step that takes less has found its runs finished, and is no measurement
SPOKEN = 1.0  # seconds: shorter steps have no line
TRAININGS = ("base", "specialist", "mix")  # the plan compares them by their tokens
ANNOUNCED = 60.0  # expected seconds: longer ones also have a line when they start


class StudyProgress:
    """On a terminal, a bar over all steps with a line per worker below it; in a file, a line with the time per step."""

    def __init__(self) -> None:
        self._is_shown = is_main_process() and console.is_terminal
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TimeElapsedColumn(),
            _Left(),
            console=console,
            disable=not self._is_shown,
            transient=True,
        )
        self._all = self._bar.add_task("[bold]study[/]", total=0.0, left="")
        self._waiting: dict[str, Step] = {}
        self._running: dict[str, tuple[Step, float, int]] = {}
        self._lines: dict[str, TaskID] = {}
        self._count = self._done = 0
        self._workers = 1
        self._times = StepTimes()

    @contextlib.contextmanager
    def of(self, steps: Iterable[Step], workers: int = 1) -> Iterator[None]:
        """Show these steps while they run; those of an earlier call stay counted."""
        found = {step.key: step for step in steps}
        self._waiting |= found
        self._count += len(found)
        self._workers = workers
        self._show()
        self._bar.start()
        try:
            yield
        finally:
            self._bar.stop()
            self._waiting, self._running = {}, {}

    def started(self, step: Step) -> None:
        """Name a step as that of the first free worker."""
        self._waiting.pop(step.key, None)
        taken = {worker for _, _, worker in self._running.values()}
        worker = next(number for number in range(1, len(taken) + 2) if number not in taken)
        self._running[step.key] = (step, time.monotonic(), worker)
        expected = self._times.expected(step)
        name = f"worker {worker}: {step.label}" if self._workers > 1 else step.label
        self._lines[step.key] = self._bar.add_task(f"  {name}", total=expected, left="", expected=expected)
        if not self._is_shown and expected is not None and expected > ANNOUNCED:
            say(f"{_clock()}  {name}: begins, about {words(expected)}")
        self._show()

    def finished(self, step: Step) -> None:
        """Count a step and learn from its time; one that was already finished prints nothing."""
        _, started, _ = self._running.pop(step.key)
        self._bar.remove_task(self._lines.pop(step.key))
        seconds = time.monotonic() - started
        self._done += 1
        if seconds > REUSED:
            self._times.add(step, seconds)
        if seconds > SPOKEN:
            left = "" if self._is_shown else self._left_words()
            clock = "" if self._is_shown else _clock()
            say(f"{clock}  {step.label}: {seconds:.0f} s{left}")
        self._show()

    def _left_words(self) -> str:
        return f" ({self._done} of {self._count} steps{self._about()})"

    def _about(self) -> str:
        known, seconds = self.left()
        return f", {'about' if known else 'at least'} {words(seconds)} left" if seconds or known else ""

    def left(self) -> tuple[bool, float]:
        """Expected seconds until all known steps have ended; false: without steps of kinds that were not measured."""
        now = time.monotonic()
        waiting = [self._times.expected(step) for step in self._waiting.values()]
        running = [(self._times.expected(step), now - began) for step, began, _ in self._running.values()]
        rest = [max(0.0, (expected or 0.0) - spent) for expected, spent in running]
        total = sum(one or 0.0 for one in waiting) + sum(rest)
        known = all(one is not None for one in (*waiting, *(expected for expected, _ in running)))
        return known, max([total / self._workers, *rest])

    def _show(self) -> None:
        left = f"{self._done} of {self._count}{self._about()}" if self._count else ""
        self._bar.update(self._all, total=self._count, completed=self._done, left=left)


class StepTimes:
    """Measured times of steps by kind: their ratio to the expected seconds corrects the plan."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, float]] = {}  # kind -> measured and expected seconds

    def add(self, step: Step, seconds: float) -> None:
        """Add a measurement."""
        measured, expected = self._sums.get(_kind(step), (0.0, 0.0))
        self._sums[_kind(step)] = measured + seconds, expected + step.seconds

    def expected(self, step: Step) -> float | None:
        """Expected seconds, from the times of steps of its kind; None before the first of them."""
        measured, expected = self._sums.get(_kind(step), (0.0, 0.0))
        return step.seconds * measured / expected if expected else None


def _kind(step: Step) -> str:
    return "training" if step.kind in TRAININGS else step.kind


class _Left(ProgressColumn):
    """The time left of a step that runs, or the text of the bar over all."""

    def render(self, task: Task) -> Text:
        expected = task.fields.get("expected")
        if expected is None:
            return Text(str(task.fields.get("left", "")))
        spent = task.elapsed or 0.0
        task.completed = min(spent, expected)
        return Text(f"about {words(expected - spent)} left" if expected > spent else "longer than others of its kind")


def words(seconds: float) -> str:
    """A duration in two units at most.

    Example:
        >>> [words(value) for value in (4.6, 80, 3720, 100000)]
        ['5 s', '1.3 min', '1.0 h', '27.8 h']
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def _clock() -> str:
    return time.strftime("%H:%M:%S")
