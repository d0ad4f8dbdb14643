"""Dataclasses whose values are checked by pydantic, with errors that name the config key.

Checks are strict: a bool or a string is not a number, and NaN and Inf are refused.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, dataclass_transform

import pydantic
from pydantic import ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from src.utils.errors import UserError, first_differences, unknown_choice

T = TypeVar("T")
STRICT = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True, extra="forbid")
RANGES = {
    "greater_than": "above {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "below {lt:g}",
    "less_than_equal": "at most {le:g}",
}
EXPECTED = {
    **RANGES,
    "bool_type": "true or false",
    "float_type": "a number",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "string_type": "a string",
    "dict_type": "a mapping, as in {name: value}",
    "mapping_type": "a mapping, as in {name: value}",
    "list_type": "a list",
    "tuple_type": "a list",
    "is_sequence_of": "a list",
    "none_required": "null",
}


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field, pydantic.Field))
def checked_dataclass(section: str = "") -> Callable[[type[T]], type[T]]:
    """Turn a class into a frozen dataclass whose types and ranges are checked on construction.

    Args:
        section: Config section of its fields, for messages: with `merge`, the field `density` is `merge.density`. A
            trailing underscore is dropped: `lambda_` is the key `lambda`.

    Example:
        >>> @checked_dataclass("merge")
        ... class Sparsity:
        ...     density: Annotated[float, Field(gt=0, le=1)]
    """

    def decorate(cls: type[T]) -> type[T]:
        made: Any = pydantic.dataclasses.dataclass(cls, frozen=True, config=STRICT)
        build, names = made.__init__, [one.name for one in dataclasses.fields(made)]

        @functools.wraps(build)
        def checked_init(self: T, *values: Any, **keys: Any) -> None:
            named = dict(zip(names, values, strict=False))  # pydantic would name a positional argument by its index
            if named.keys() & keys.keys() or len(values) > len(names):
                raise TypeError(f"{cls.__name__} got too many values: {values!r}, {keys!r}")
            try:
                build(self, **named, **keys)
            except ValidationError as error:
                raise user_error(section, error) from error

        made.__init__ = checked_init
        checked: type[T] = made
        return checked

    return decorate


def user_error(section: str, error: ValidationError) -> UserError:
    """Convert a pydantic error to our wording: the key, what was expected, what was given."""
    found = error.errors(include_url=False)
    # A union reports each of its members: one problem if they all refuse the same value.
    fields = itertools.groupby(found, key=lambda details: (details["loc"][:1], id(details["input"])))
    problems = [_problem(section, list(members)) for _, members in fields]
    if len(problems) == 1:
        return problems[0]
    return UserError(first_differences(f"{len(problems)} wrong values", [str(problem) for problem in problems]))


def _problem(section: str, members: list[ErrorDetails]) -> UserError:
    details = members[0]
    raised = details.get("ctx", {}).get("error")
    if isinstance(raised, UserError):  # from one of our own checks, which names the key itself
        return raised
    key, got = _key(section, details["loc"] if len(members) == 1 else details["loc"][:1]), details["input"]
    if details["type"] == "missing":
        return UserError(f"{key} is missing")
    if details["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return UserError(f"unknown key {key}")
    if details["type"] == "literal_error":
        return unknown_choice(key, str(got), choices_of(details))
    return UserError(f"{key} must be {' or '.join(map(expected_words, members))}, got {got!r}")


def choices_of(details: ErrorDetails) -> list[str]:
    """The choices of a failed check of a `Literal`."""
    return re.findall(r"'([^']*)'", details["ctx"]["expected"])


def expected_words(details: ErrorDetails) -> str:
    """The value that a pydantic check expects, in our wording."""
    words = EXPECTED.get(details["type"]) or details["msg"].removeprefix("Input should be ")
    return words.format(**details.get("ctx", {})) if details["type"] in RANGES else words


def _key(section: str, place: Sequence[int | str]) -> str:
    return ".".join([section] * bool(section) + [str(part).removesuffix("_") for part in place])
