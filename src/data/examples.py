"""Training rows once their source has been read: one user turn and one assistant turn each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """One training row.

    Args:
        id: Names the row in errors and logs; unique in its source.
        task: The task it belongs to, e.g. `codegen`.
        prompt: The user turn, already rendered; None marks a raw document, trained on every token.
        answer: The assistant turn (or the whole document), without any end token.
        system: System turn; None leaves it to the chat template.
    """

    id: str
    task: str
    prompt: str | None
    answer: str
    system: str | None = None

    @property
    def question(self) -> str:
        """The text by which copies of a row are recognized: the user turn up to white space, or the document."""
        return " ".join((self.answer if self.prompt is None else self.prompt).split())


class Examples(list[Example]):
    """Rows in order, with counts of those that were left out.

    Args:
        rows: The usable rows.
        left_out: Reason -> number of rows.
    """

    def __init__(self, rows: Iterable[Example] = (), left_out: Mapping[str, int] | None = None) -> None:
        super().__init__(rows)
        self.left_out: Counter[str] = Counter(left_out)


class Unusable(Exception):
    """Raised by a form for a record that gives no row; the message names the kind, under which it is counted."""


def join(parts: Iterable[Iterable[Example]]) -> Examples:
    """Concatenate the rows of several sources; a source that counts nothing may give any list."""
    rows = Examples()
    for part in parts:
        rows.extend(part)
        rows.left_out += part.left_out if isinstance(part, Examples) else Counter()
    return rows
