"""Progress bars: the work, how much of it is done, and the time left."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import IO, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from src.utils.errors import printable
from src.utils.ranks import is_main_process

T = TypeVar("T")
console = Console(stderr=True)


def progress_bar() -> Progress:
    """Make a progress display on stderr; silent on other ranks and where stderr is not a terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=not (is_main_process() and console.is_terminal),
        transient=True,
    )


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Iterate over `items` with a progress bar."""
    with progress_bar() as bar:
        yield from bar.track(items, total=total, description=description)


@contextlib.contextmanager
def speaking_into(file: IO[str]) -> Iterator[None]:
    """Send lines and bars to a file, and afterwards to what standard error then is, not to what it was before."""
    console.file = file
    try:
        yield
    finally:
        console.file = None  # type: ignore[assignment]


def say(message: str) -> None:
    """Print one line on stderr (rank 0 only)."""
    if is_main_process():
        console.print(printable(message), highlight=False, soft_wrap=True, markup=False)
