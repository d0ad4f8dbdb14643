"""A training row once its source has been read: one user turn and one assistant turn."""

from __future__ import annotations

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
