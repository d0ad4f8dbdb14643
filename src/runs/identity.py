"""Identity of a run: the stage, config and inputs that decide its result, compared with those of a record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from src.utils.errors import UserError, first_differences


def as_json(value: Any) -> Any:
    """Convert to what `run.json` stores: tuples become lists, keys become strings."""
    return json.loads(json.dumps(value))


def require_equal(directory: Path, there: dict[str, Any], here: dict[str, Any], what: str) -> None:
    """Require the identity `here` in the record `there`.

    Raises:
        UserError: They differ; the first differences are listed.
    """
    differences = list(_differences({key: there.get(key) for key in here}, as_json(here)))
    if differences:
        detail = first_differences("first differences", differences)
        raise UserError(f"{directory} {what}; {detail}. Choose another output=DIR, or remove {directory}")


def _differences(there: Any, here: Any, path: str = "") -> Iterator[str]:
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted(there.keys() | here.keys()):
            yield from _differences(there.get(key), here.get(key), f"{path}.{key}" if path else key)
    elif there != here:
        yield f"{path.removeprefix('config.')}: {there!r} there, {here!r} here"
