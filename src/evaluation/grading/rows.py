"""Problems from a benchmark's rows, with all defects in one message."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from src.utils.errors import UserError, first_differences

P = TypeVar("P")


class Defect(ValueError):
    """Reason why a row is no problem."""


def problems_of_rows(rows: Sequence[dict[str, Any]], label: str, make: Callable[[dict[str, Any]], P]) -> list[P]:
    """Make a problem of each row.

    Args:
        rows: With `task_id`, and whatever `make` needs.
        label: Beginning of the message.
        make: Raises `Defect`, or `KeyError` for a missing field.

    Raises:
        UserError: Rows have defects, or two rows share a `task_id`.
    """
    problems, seen, wrong = [], set[str](), []
    for number, row in enumerate(rows, 1):
        name = str(row.get("task_id"))
        try:
            if name in seen:
                raise Defect("repeats a task_id")
            problems.append(make(row))
        except Defect as defect:
            wrong.append(f"row {number} ({name}) {defect}")
        except KeyError as missing:
            wrong.append(f"row {number} ({name}) lacks {missing.args[0]}")
        seen.add(name)
    if wrong:
        raise UserError(first_differences(label, wrong))
    return problems
