"""A filter of training rows for tests."""

from __future__ import annotations

from typing import Any


class Without:
    """A filter that leaves out the rows whose ids end with a letter."""

    def __init__(self, letter: str) -> None:
        self.key = self.letter = letter
        self.ready = False

    def prepare(self) -> None:
        self.ready = True

    def __call__(self, rows: Any) -> Any:
        assert self.ready
        return [row for row in rows if not row.id.endswith(self.letter)]
