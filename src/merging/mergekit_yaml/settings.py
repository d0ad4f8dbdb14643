"""Values of mergekit's parameters: a number, a list (a gradient over the layers), or entries with a `filter`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from src.merging.schedule import interpolate
from src.utils.errors import UserError

Scalar = float | bool
Convert = Callable[[Any, str], Scalar]
"""A value of a YAML and the key that it comes from -> the value with its type."""


@dataclass(frozen=True)
class Entry:
    """Values of a parameter for the tensors with a string in their names.

    Args:
        filter: Part of a tensor's name; None: all tensors.
        values: One, or several that are spread over the layers.
    """

    filter: str | None
    values: tuple[Scalar, ...]

    def applies_to(self, tensor: str) -> bool:
        """True if the entry sets the parameter for a tensor."""
        return self.filter is None or self.filter in tensor


@dataclass(frozen=True)
class Setting:
    """All entries for one parameter, the first that applies counts; the last one applies to every tensor."""

    entries: tuple[Entry, ...]

    @property
    def constant(self) -> Scalar | None:
        """The value, if all tensors have the same; else None."""
        values = {value for entry in self.entries for value in entry.values}
        return next(iter(values)) if len(values) == 1 else None

    def entry_for(self, tensor: str) -> Entry:
        """The entry that decides for a tensor."""
        return next(entry for entry in self.entries if entry.applies_to(tensor))

    def at(self, tensor: str, depth: float) -> Scalar:
        """The value for a tensor.

        Args:
            tensor: Its name.
            depth: Its place among the layers, from 0 to 1.
        """
        return interpolate(self.entry_for(tensor).values, depth)


def entries_of(setting: Any, where: str, convert: Convert) -> tuple[Entry, ...]:
    """Parse what a YAML says about one parameter.

    Args:
        setting: A value, a list of values, `{value: ..., filter: ...}`, or a list of these.
        where: Its key, for messages.
        convert: Of every value.

    Raises:
        UserError: It is none of these, or a value has the wrong type.
    """
    if isinstance(setting, Mapping):
        return (_conditional(setting, where, convert),)
    if isinstance(setting, list) and setting and all(isinstance(entry, Mapping) for entry in setting):
        return tuple(_conditional(entry, f"{where}[{index}]", convert) for index, entry in enumerate(setting))
    return (Entry(None, _values(setting, where, convert)),)


def complete(entries: Sequence[Entry], default: Scalar | None) -> Setting | None:
    """The setting of entries in the order in which they count, with the default where none of them applies.

    Returns:
        None if there is no default and some tensors have no value.
    """
    first = next((index for index, entry in enumerate(entries) if entry.filter is None), None)
    if first is not None:
        return Setting(tuple(entries[: first + 1]))
    return None if default is None else Setting((*entries, Entry(None, (default,))))


def number(value: Any, where: str) -> float:
    """A number; YAML reads `1e-5` as text.

    Raises:
        UserError: `value` is something else, or not finite.
    """
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise UserError(f"{where} must be a number, got {value!r}")
    return found


def integer(value: Any, where: str) -> int:
    """An integer; raises a `UserError` for anything else."""
    found = number(value, where)
    if found != int(found):
        raise UserError(f"{where} must be an integer, got {value!r}")
    return int(found)


def truth(value: Any, where: str) -> bool:
    """True or false, also as 1 or 0; raises a `UserError` for anything else."""
    if value not in (True, False):
        raise UserError(f"{where} must be true or false, got {value!r}")
    return bool(value)


def _conditional(entry: Mapping[Any, Any], where: str, convert: Convert) -> Entry:
    unknown = [str(key) for key in entry if key not in ("value", "filter")]
    if unknown or "value" not in entry:
        raise UserError(f"{where}: expected value and filter, got {', '.join(map(str, entry)) or 'nothing'}")
    chosen = entry.get("filter")
    if chosen is not None and not isinstance(chosen, str):
        raise UserError(f"{where}.filter must be a part of tensor names, got {chosen!r}")
    return Entry(None if chosen == "*" else chosen, _values(entry["value"], f"{where}.value", convert))


def _values(value: Any, where: str, convert: Convert) -> tuple[Scalar, ...]:
    if not isinstance(value, list):
        return (convert(value, where),)
    if not value:
        raise UserError(f"{where} is an empty list; expected a value, or one per point of the gradient")
    return tuple(convert(one, f"{where}[{index}]") for index, one in enumerate(value))
