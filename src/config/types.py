"""Are the values of a config node what the arguments of its callable take? Checked before anything is called."""

from __future__ import annotations

import inspect
import types
from collections import abc
from collections.abc import Callable, Mapping
from typing import Any, Union, get_args, get_origin, get_type_hints

from src.utils.errors import UserError

WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}
MANY = {int: "whole numbers", float: "numbers", bool: "true and false", str: "texts"}


def check_types(values: Mapping[str, Any], hints: Mapping[str, Any], name_of: Callable[[str], str]) -> None:
    """Compare plain values with annotations; what is annotated otherwise is left to the callable.

    Args:
        values: By argument.
        hints: Annotation by argument. `int`, `float`, `bool`, `str`, `None`, sequences of one of them, mappings, and
            unions of all these are checked.
        name_of: The config key of an argument, for the message.

    Raises:
        UserError: A value has another type.

    Example:
        >>> check_types({"steps": "many"}, {"steps": int | None}, "strategy.{}".format)
        Traceback (most recent call last):
        src.utils.errors.UserError: strategy.steps='many': expected a whole number or null
    """
    for key, value in values.items():
        allowed = _alternatives(hints.get(key))
        if allowed and not any(_fits(value, kind) for kind in allowed):
            raise UserError(f"{name_of(key)}={value!r}: expected {' or '.join(map(_in_words, allowed))}")


def hints_of(target: Callable[..., Any]) -> dict[str, Any]:
    """Annotations of a callable's arguments; nothing where they cannot be resolved."""
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return get_type_hints(function)
    except (NameError, TypeError):
        return {}


def _alternatives(hint: Any) -> tuple[Any, ...]:
    """The kinds that a value may have; empty where one of them is beyond checking."""
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return kinds if all(kind in WORDS or _item(kind) or get_origin(kind) is abc.Mapping for kind in kinds) else ()


def _item(kind: Any) -> Any:
    """What a sequence holds, where that can be checked; else None."""
    parts = get_args(kind) if get_origin(kind) in (abc.Sequence, tuple, list) else ()
    return parts[0] if parts and set(parts) <= {parts[0], Ellipsis} and parts[0] in MANY else None


def _fits(value: Any, kind: Any) -> bool:
    if _item(kind):
        return isinstance(value, (list, tuple)) and all(_fits(part, _item(kind)) for part in value)
    if get_origin(kind) is abc.Mapping:
        return isinstance(value, dict)
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float)) if kind is float else isinstance(value, kind)


def _in_words(kind: Any) -> str:
    if _item(kind):
        return f"a list of {MANY[_item(kind)]}"
    return "a mapping" if get_origin(kind) is abc.Mapping else WORDS[kind]
