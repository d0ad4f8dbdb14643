"""Problems from a benchmark's rows, with all defects in one message."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from src.utils.errors import UserError, first_differences

P = TypeVar("P")
Row = dict[str, Any]


class Defect(ValueError):
    """Reason why a row is no problem."""


def problems_of_rows(rows: Iterable[Row], label: str, make: Callable[[Row], P]) -> list[P]:
    """Make a problem of each row.

    Args:
        rows: With `task_id`, and whatever `make` needs.
        label: Beginning of the message.
        make: Raises `Defect`, or `KeyError` for a missing field.

    Raises:
        UserError: There are no rows, rows have defects, or two rows share a `task_id`.
    """
    problems, seen, wrong = [], set[str](), []
    for number, row in enumerate(rows, 1):
        place = f"row {number} ({row['task_id']})" if "task_id" in row else f"row {number}"
        try:
            problems.append(make(row))
            if row["task_id"] in seen:
                raise Defect("repeats a task_id")
            seen.add(row["task_id"])
        except Defect as defect:
            wrong.append(f"{place} {defect}")
        except KeyError as missing:
            wrong.append(f"{place} lacks {missing.args[0]}")
    if wrong or not problems:
        raise UserError(first_differences(label, wrong or ["it is empty"]))
    return problems


def fields_of(row: Row, names: Sequence[str]) -> Row:
    """Return fields of a row or of its tests.

    Raises:
        Defect: Some are missing; all of them are named.
    """
    if missing := [name for name in names if name not in row]:
        raise Defect(f"lacks {', '.join(missing)}")
    return {name: row[name] for name in names}
