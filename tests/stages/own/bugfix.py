"""A third task for tests: other pocket programs under a name of their own."""

from __future__ import annotations

from dataclasses import dataclass, replace

from src.data.examples import Example
from src.pocket.sources import PocketSource


@dataclass(frozen=True)
class BugfixSource:
    """Rows of the task `bugfix`."""

    user_prompt: str

    def examples(self, split: str) -> list[Example]:
        rows = PocketSource("codesum", self.user_prompt, seed=1, renderings=1).examples(split)
        return [replace(row, id=f"bugfix/{row.id}", task="bugfix") for row in rows]
