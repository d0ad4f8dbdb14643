"""The catalog of transforms: groups of functions of one element, each group one idea with its constants.

`TRANSFORMS[kind]` is a tuple of groups, `kind` that of the element going in. `K` in a template stands for the constant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from src.pocket.programs.operators import Transform, spoken
from src.pocket.programs.predicates import LARGE, SMALL

Group = tuple[Transform, ...]


def _one(kinds: str, name: str, apply: Callable[[Any], Any], code: str, says: str, does: str) -> Group:
    """A transform without a constant; `kinds` is "int>word", `says` follows its noun, `does` holds `*`."""
    takes, gives = kinds.split(">")
    return (Transform(name, takes, gives, apply, code, (f"* {says}",), (does,)),)


def _many(
    kinds: str,
    name: str,
    values: Iterable[Any],
    apply: Callable[[Any], Callable[[Any], Any]],
    code: str,
    says: tuple[str, ...],
    does: str,
) -> Group:
    """A transform for each of some constants."""
    takes, gives = kinds.split(">")
    return tuple(
        Transform(
            f"{name}({k})",
            takes,
            gives,
            apply(k),
            code.replace("K", str(k)),
            tuple(f"* {said}".replace("K", spoken(k)) for said in says),
            (does.replace("K", spoken(k)),),
        )
        for k in values
    )


SQUARE = _one("int>int", "square", lambda x: x**2, "{x} ** 2", "squared", "square *")
INT_LINEAR: tuple[Group, ...] = (
    _one("int>int", "double", lambda x: x * 2, "{x} * 2", "doubled", "double *"),
    _one("int>int", "negate", lambda x: -x, "-{x}", "negated", "negate *"),
    _one("int>int", "absolute", abs, "abs({arg})", "without sign", "drop the sign of *"),
    _one("int>int", "halve", lambda x: x // 2, "{x} // 2", "halved", "halve *"),
    _many(
        "int>int", "plus", LARGE, lambda k: lambda x: x + k, "{x} + K", ("plus K", "increased by K"), "add K to *"
    ),
    _many(
        "int>int", "minus", LARGE, lambda k: lambda x: x - k, "{x} - K", ("minus K", "reduced by K"), "take K from *"
    ),
    _many("int>int", "times", LARGE[1:], lambda k: lambda x: x * k, "{x} * K", ("times K",), "multiply * by K"),
)  # fmt: skip
INT_TRANSFORMS: tuple[Group, ...] = (SQUARE, *INT_LINEAR)
TO_STRING = _one("int>word", "string", str, "str({arg})", "as strings", "turn * into strings")

CHAR_TRANSFORMS: tuple[Group, ...] = (
    _one("char>char", "upper", str.upper, "{x}.upper()", "in upper case", "put * in upper case"),
    _one("char>char", "lower", str.lower, "{x}.lower()", "in lower case", "put * in lower case"),
    _one("char>word", "twice", lambda c: c * 2, "{x} * 2", "repeated twice", "repeat * twice"),
)

# "spelt" stays: the words are the corpus, and another word is another pocket world.
WORD_CHANGES: tuple[Group, ...] = (
    _one("word>word", "upper", str.upper, "{x}.upper()", "in upper case", "put * in upper case"),
    _one("word>word", "lower", str.lower, "{x}.lower()", "in lower case", "put * in lower case"),
    _one("word>word", "backwards", lambda w: w[::-1], "{x}[::-1]", "spelt backwards", "spell * backwards"),
    _one("word>word", "twice", lambda w: w * 2, "{x} * 2", "repeated twice", "repeat * twice"),
    _many(
        "word>word", "start", SMALL, lambda k: lambda w: w[:k], "{x}[:K]",
        ("cut to K letters",), "cut * to K letters",
    ),
)  # fmt: skip
WORD_MEASURES: tuple[Group, ...] = (
    _one("word>int", "length", len, "len({arg})", "measured in letters", "measure the length of *"),
)  # fmt: skip

TRANSFORMS: dict[str, tuple[Group, ...]] = {
    "int": (*INT_TRANSFORMS, TO_STRING),
    "char": CHAR_TRANSFORMS,
    "word": (*WORD_CHANGES, *WORD_MEASURES),
}
