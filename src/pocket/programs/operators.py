"""The operators from which pocket programs are composed: each has a meaning, its code and its words.

Code templates hold `{x}`, an operand that binds tightly (parenthesized if needed), or `{arg}`, one inside a call.
Word templates hold `*`, the noun phrase or pronoun that they speak of.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

NUMBER_WORDS = {-1: "minus one", 0: "zero", 1: "one", 2: "two", 3: "three", 4: "four", 5: "five"}
VARIABLES = {"int": "x", "char": "c", "word": "w", "row": "row"}  # element kind -> loop variable

_SLOT = re.compile(r"\{(?:x|arg)\}")


def fill(template: str, expression: str) -> str:
    """Put `expression` into a code template, in parentheses only where precedence could change its meaning."""
    tight = expression if _is_atom(expression) else f"({expression})"
    return _SLOT.sub(lambda slot: tight if slot[0] == "{x}" else expression, template)


def _is_atom(expression: str) -> bool:
    """True for a name (or nothing) followed by brackets only, as `f(x)[1]` or `[x, y]`."""
    depth = 0
    for character in expression:
        depth += (character in "([") - (character in ")]")
        if depth == 0 and not (character.isalnum() or character in "_.)]"):
            return False
    return True


def spoken(constant: object) -> str:
    """A constant in words if there are any: 3 is "three"."""
    return NUMBER_WORDS.get(constant, str(constant)) if isinstance(constant, int) else str(constant)


def speak(template: str, noun: str) -> str:
    """Put a noun phrase into a word template."""
    return template.replace("*", noun)


@dataclass(frozen=True)
class Predicate:
    """A yes/no question about one element: `short` is "even *", `plural` is "are even", `singular` is "is even".

    A combined predicate holds its components in `parts`.
    """

    key: str
    takes: str
    apply: Callable[[Any], bool]
    code: str
    short: tuple[str, ...]
    plural: tuple[str, ...]
    singular: tuple[str, ...]
    parts: tuple[Predicate, ...] = ()


@dataclass(frozen=True)
class Transform:
    """A function of one element: `says` is "* squared", `does` is "square *", `once` is `does` for a single thing.

    A combined transform holds its components in `parts`.
    """

    key: str
    takes: str
    gives: str
    apply: Callable[[Any], Any]
    code: str
    says: tuple[str, ...]
    does: tuple[str, ...]
    once: tuple[str, ...] = ()
    parts: tuple[Transform, ...] = ()


@dataclass(frozen=True)
class Arrangement:
    """A function from a sequence to a list of the same elements; `takes` is an element kind or "any"."""

    key: str
    takes: str
    apply: Callable[[list[Any]], list[Any]]
    code: str
    says: tuple[str, ...]
    does: tuple[str, ...]


@dataclass(frozen=True)
class Fold:
    """The loop form of a reducer: a line before the loop, lines for each element `{x}`, and the result."""

    start: str
    update: str
    result: str


@dataclass(frozen=True)
class Reducer:
    """A function from a sequence to the result: `says` is "the sum of *".

    `each` is a template for the value that the reducer takes from one element; its operand is the sequence of these.
    """

    key: str
    takes: str
    apply: Callable[[list[Any]], Any]
    code: str | None
    says: tuple[str, ...]
    fold: Fold | None = None
    each: str = ""
    needs_list: bool = False


@dataclass(frozen=True)
class Source:
    """Origin of the elements: the function's parameters and an expression over them."""

    key: str
    parameters: tuple[str, ...]
    gives: str
    apply: Callable[..., list[Any]]
    code: str
    says: tuple[str, ...]
    is_list: bool = True


def both(first: Predicate, second: Predicate) -> Predicate:
    """The predicate that holds if `first` and `second` hold."""
    return Predicate(
        key=f"both({first.key},{second.key})",
        takes=first.takes,
        apply=lambda x: first.apply(x) and second.apply(x),
        code=f"{first.code} and {second.code}",
        short=(f"* that {first.plural[0]} and {second.plural[0]}",),
        plural=(f"{first.plural[0]} and {second.plural[0]}",),
        singular=(f"{first.singular[0]} and {second.singular[0]}",),
        parts=(first, second),
    )


def either(first: Predicate, second: Predicate) -> Predicate:
    """The predicate that holds if `first` or `second` holds."""
    return Predicate(
        key=f"either({first.key},{second.key})",
        takes=first.takes,
        apply=lambda x: first.apply(x) or second.apply(x),
        code=f"{first.code} or {second.code}",
        short=(f"* that {first.plural[0]} or {second.plural[0]}",),
        plural=(f"{first.plural[0]} or {second.plural[0]}",),
        singular=(f"{first.singular[0]} or {second.singular[0]}",),
        parts=(first, second),
    )


def chain(first: Transform, second: Transform) -> Transform:
    """The transform that applies `first` and then `second`."""
    return Transform(
        key=f"chain({first.key},{second.key})",
        takes=first.takes,
        gives=second.gives,
        apply=lambda x: second.apply(first.apply(x)),
        code=fill(second.code, first.code) if first.code != "{x}" else second.code,
        says=(f"{first.says[0]} and then {speak(second.says[0], '').strip()}",),
        does=(f"{first.does[0]} and then {speak(second.does[0], 'the result')}",),
        parts=(first, second),
    )


def branch(test: Predicate, then: Transform, other: Transform) -> Transform:
    """The transform that applies `then` if `test` holds and `other` otherwise."""
    ones = f"the {speak(test.short[0], 'ones')}"
    return Transform(
        key=f"branch({test.key},{then.key},{other.key})",
        takes=test.takes,
        gives=then.gives,
        apply=lambda x: then.apply(x) if test.apply(x) else other.apply(x),
        code=f"{then.code} if {test.code} else {other.code}",
        says=(f"* with {speak(then.says[0], ones)} and {speak(other.says[0], 'the others')}",),
        does=(f"{speak(then.does[0], ones)} and {speak(other.does[0], 'the others')}",),
        once=(f"{speak(then.does[0], 'it')} if it {test.singular[0]} and otherwise {speak(other.does[0], 'it')}",),
        parts=(then, other),
    )
