"""Checks of single values of a recipe; their messages name the config key."""

from __future__ import annotations

import math
from collections.abc import Iterable

from src.utils.errors import UserError, unknown_choice


def number(key: str, value: object, low: float = -math.inf, high: float = math.inf) -> float:
    """`value` as a float.

    Raises:
        UserError: It is no number, is NaN or infinite, or lies outside [low, high].
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise UserError(f"merge.{key} must be a number, got {value!r}")
    if not low <= value <= high:
        raise UserError(f"merge.{key} must lie between {low:g} and {high:g}, got {value!r}")
    return float(value)


def flag(key: str, value: object) -> bool:
    """`value` as a bool.

    Raises:
        UserError: It is none.
    """
    if not isinstance(value, bool):
        raise UserError(f"merge.{key} must be true or false, got {value!r}")
    return value


def choice(key: str, value: object, choices: Iterable[str]) -> str:
    """`value` as one of `choices`.

    Raises:
        UserError: It is none of them.
    """
    if value not in list(choices):
        raise unknown_choice(f"merge.{key}", str(value), list(choices))
    return str(value)
