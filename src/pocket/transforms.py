"""The catalogue of transforms: groups of functions of one element, each group one idea with its constants.

`TRANSFORMS[kind]` is a tuple of groups, `kind` that of the element going in. `K` in a template stands for the constant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from src.pocket.operators import Transform
from src.pocket.predicates import LARGE, SMALL

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
            tuple(f"* {said}".replace("K", str(k)) for said in says),
            (does.replace("K", str(k)),),
        )
        for k in values
    )


INT_POWERS: tuple[Group, ...] = (
    _one("int>int", "square", lambda x: x**2, "{x} ** 2", "squared", "square *"),
    _one("int>int", "cube", lambda x: x**3, "{x} ** 3", "cubed", "cube *"),
)
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
    _many("int>int", "times", LARGE, lambda k: lambda x: x * k, "{x} * K", ("times K",), "multiply * by K"),
    _many("int>int", "modulo", LARGE, lambda k: lambda x: x % k, "{x} % K", ("modulo K",), "reduce * modulo K"),
    _many("int>int", "cap", LARGE, lambda k: lambda x: min(x, k), "min({arg}, K)", ("capped at K",), "cap * at K"),
    _many(
        "int>int", "raise", LARGE, lambda k: lambda x: max(x, k), "max({arg}, K)",
        ("raised to at least K",), "raise * to at least K",
    ),
    _many(
        "int>int", "from", LARGE, lambda k: lambda x: k - x, "K - {x}", ("subtracted from K",), "subtract * from K"
    ),
    _many(
        "int>int", "distance", LARGE, lambda k: lambda x: abs(x - k), "abs({x} - K)",
        ("as distances from K",), "turn * into distances from K",
    ),
)  # fmt: skip
INT_TRANSFORMS: tuple[Group, ...] = (*INT_POWERS, *INT_LINEAR)
TO_STRING = _one("int>word", "string", str, "str({arg})", "as strings", "turn * into strings")

CHAR_TRANSFORMS: tuple[Group, ...] = (
    _one("char>char", "upper", str.upper, "{x}.upper()", "in upper case", "put * in upper case"),
    _one("char>char", "lower", str.lower, "{x}.lower()", "in lower case", "put * in lower case"),
    _one("char>char", "swap", str.swapcase, "{x}.swapcase()", "with swapped case", "swap the case of *"),
    _one("char>word", "twice", lambda c: c * 2, "{x} * 2", "repeated twice", "repeat * twice"),
    _one("char>int", "code", ord, "ord({arg})", "as character codes", "turn * into character codes"),
)

WORD_CHANGES: tuple[Group, ...] = (
    _one("word>word", "upper", str.upper, "{x}.upper()", "in upper case", "put * in upper case"),
    _one("word>word", "lower", str.lower, "{x}.lower()", "in lower case", "put * in lower case"),
    _one("word>word", "capital", str.capitalize, "{x}.capitalize()", "capitalised", "capitalise *"),
    _one("word>word", "backwards", lambda w: w[::-1], "{x}[::-1]", "spelt backwards", "spell * backwards"),
    _one("word>word", "twice", lambda w: w * 2, "{x} * 2", "repeated twice", "repeat * twice"),
    _one("word>word", "strip", str.strip, "{x}.strip()", "stripped", "strip *"),
    _many(
        "word>word", "start", SMALL, lambda k: lambda w: w[:k], "{x}[:K]",
        ("cut to K letters",), "cut * to K letters",
    ),
    _many(
        "word>word", "end", SMALL, lambda k: lambda w: w[-k:], "{x}[-K:]",
        ("cut to the last K letters",), "cut * to the last K letters",
    ),
    _many(
        "word>word", "drop", SMALL, lambda k: lambda w: w[k:], "{x}[K:]",
        ("without the first K letters",), "drop the first K letters of *",
    ),
    _many(
        "word>word", "suffix", "!?.", lambda k: lambda w: w + k, "{x} + 'K'", ("followed by 'K'",), "add 'K' after *"
    ),
)  # fmt: skip
WORD_MEASURES: tuple[Group, ...] = (
    _one("word>int", "length", len, "len({arg})", "measured in letters", "measure the length of *"),
    _one(
        "word>int", "distinct", lambda w: len(set(w)), "len(set({arg}))",
        "measured in different letters", "count the different letters of *",
    ),
    _many(
        "word>int", "count", "aeo", lambda k: lambda w: w.count(k), "{x}.count('K')",
        ("measured in 'K's",), "count the 'K's of *",
    ),
)  # fmt: skip

TRANSFORMS: dict[str, tuple[Group, ...]] = {
    "int": (*INT_TRANSFORMS, TO_STRING),
    "char": CHAR_TRANSFORMS,
    "word": (*WORD_CHANGES, *WORD_MEASURES),
}
