"""Check the types of a config node's values against the signature of its callable, before anything is called."""

from __future__ import annotations

import inspect
import json
import types
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from src.utils.errors import UserError, unknown_choice
from src.utils.validation import STRICT, choices_of, expected_words


def check_types(values: Mapping[str, Any], hints: Mapping[str, Any], name_of: Callable[[str], str]) -> None:
    """Compare plain values with annotations.

    Args:
        values: By argument; nodes with a `_target_` are left to their own callable.
        hints: Annotation by argument; an argument without one takes anything.
        name_of: The config key of an argument, for the message.

    Raises:
        UserError: A value has another type.

    Example:
        >>> check_types({"steps": "many"}, {"steps": int | None}, "strategy.{}".format)
        Traceback (most recent call last):
        src.utils.errors.UserError: strategy.steps must be an integer or null, got 'many'
    """
    for key, value in values.items():
        adapter = _adapter(hints[key]) if key in hints and not _holds_node(value) else None
        if adapter is None:
            continue
        try:
            # Checked as JSON, where strict mode means the same as in YAML: a list may be a tuple, a string a path,
            # never a number.
            adapter.validate_json(json.dumps(value), strict=True)
        except ValidationError as error:
            raise _user_error(name_of(key), error, _members(hints[key]), value) from error


def hints_of(target: Callable[..., Any]) -> dict[str, Any]:
    """Annotations of a callable's arguments; empty if they cannot be resolved."""
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return get_type_hints(function, include_extras=True)
    except (NameError, TypeError):
        return {}


@cache
def _adapter(hint: Any) -> TypeAdapter[Any] | None:
    try:
        return TypeAdapter(hint, config=STRICT)
    except (PydanticSchemaGenerationError, PydanticUserError):  # not a type that YAML has
        return None


def _holds_node(value: Any) -> bool:
    if isinstance(value, dict):
        return "_target_" in value or any(map(_holds_node, value.values()))
    return isinstance(value, list) and any(map(_holds_node, value))


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _user_error(key: str, error: ValidationError, members: tuple[Any, ...], value: Any) -> UserError:
    """One error for all members of a union: what they expect, or the problem inside the member that matches best."""
    errors = error.errors(include_url=False)
    if all(details["type"] == "literal_error" for details in errors):
        return unknown_choice(key, str(value), choices_of(errors[0]))
    named = [member for member in members if member is not type(None)]
    depth = 1 if len(named) > 1 else 0  # pydantic then puts the member first into the location
    inside = [details for details in errors if len(details["loc"]) > depth]
    if inside:
        place = ".".join([key, *(str(part) for part in inside[0]["loc"][depth:])])
        return UserError(f"{place} must be {expected_words(inside[0])}, got {inside[0]['input']!r}")
    expected = [*dict.fromkeys(map(expected_words, errors)), *(["null"] if len(named) < len(members) else [])]
    return UserError(f"{key} must be {' or '.join(expected)}, got {value!r}")
