"""One rule for everything that should be equal: a finding that shows every value with its owners."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from src.evaluation.preflight.finding import Finding, Severity

LONGEST = 120  # characters of one value
MOST = 4  # owners that are named


def differing(kind: str, severity: Severity, values: Mapping[str, Any], effect: str, key: str) -> Iterator[Finding]:
    """Yield a finding if the known values differ.

    Args:
        kind: See `Finding`.
        severity: See `Finding`.
        values: Owner -> value; None: not known.
        effect: See `Finding`.
        key: See `Finding`.
    """
    known = {owner: shown(value) for owner, value in _without_equal_fields(values).items() if value is not None}
    if len(set(known.values())) > 1:
        yield Finding(kind, severity, by_value(known), effect, key)


def unequal(
    kind: str, severity: Severity, values: Mapping[str, float | None], effect: str, key: str, ratio: float
) -> Iterator[Finding]:
    """Yield a finding if the largest known amount is more than `ratio` times the smallest."""
    known = {owner: value for owner, value in values.items() if value is not None}
    if len(known) > 1 and max(known.values()) > ratio * min(known.values()):
        yield Finding(kind, severity, by_value({owner: f"{value:,.0f}" for owner, value in known.items()}), effect, key)


def by_value(values: Mapping[str, str]) -> str:
    """Owners by value: `mix: 1e-05; ties and dare: 5e-06`."""
    owners: dict[str, list[str]] = {}
    for owner, value in values.items():
        owners.setdefault(value, []).append(owner)
    return "; ".join(f"{_together(names)}: {value}" for value, names in owners.items())


def _without_equal_fields(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of mappings, only the fields that are not the same in all."""
    known = [value for value in values.values() if value is not None]
    if not all(isinstance(value, Mapping) for value in known):
        return values
    fields = dict.fromkeys(name for value in known for name in value)
    differ = [name for name in fields if len({shown(value.get(name)) for value in known}) > 1]
    return {
        owner: None if value is None else {name: value.get(name) for name in differ} for owner, value in values.items()
    }


def _together(names: list[str]) -> str:
    if len(names) > MOST:
        return f"{', '.join(names[: MOST - 1])} and {len(names) - MOST + 1} more"
    return " and ".join(names)


def shown(value: Any) -> str:
    """A value as a short text, equal for equal values of any two files: `1` and `1.0` are one number."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:g}"
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    text = json.dumps(text, ensure_ascii=False)[1:-1] if "\n" in text else text
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text)} characters)"
