"""The catalog of predicates: groups of yes/no questions, each group one idea with its constants.

`PREDICATES[kind]` is a tuple of groups. A group is drawn first and its member second, so that an idea with many
constants is no more frequent than one without. `K` in a template stands for the constant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from src.pocket.programs.operators import Predicate, spoken

SMALL = (2, 3)
LARGE = (2, 3, 5)
Test = Callable[[Any], bool]
Group = tuple[Predicate, ...]


def _adjective(kind: str, word: str, test: Test, code: str) -> Group:
    """Spoken before its noun: "even numbers", "numbers that are even", "x is even"."""
    return (Predicate(word, kind, test, code, (f"{word} *", f"* that are {word}"), (f"are {word}",), (f"is {word}",)),)


def _relation(
    kind: str, name: str, values: Iterable[Any], test: Callable[[Any], Test], code: str, *words: str
) -> Group:
    """Spoken after its noun: "numbers above three", "numbers that are above three", "x is above three"."""
    return tuple(
        Predicate(
            f"{name}({k})",
            kind,
            test(k),
            code.replace("K", str(k)),
            (*_said(k, *(f"* {word}" for word in words)), *_said(k, f"* that are {words[0]}")),
            _said(k, *(f"are {word}" for word in words)),
            _said(k, *(f"is {word}" for word in words)),
        )
        for k in values
    )


def _verb(
    kind: str, name: str, values: Iterable[Any], test: Callable[[Any], Test], code: str, verb: str, rest: str
) -> Group:
    """Spoken as a verb: "words that contain 'a'", "text contains 'a'"."""
    return tuple(
        Predicate(
            f"{name}({k})",
            kind,
            test(k),
            code.replace("K", str(k)),
            _said(k, f"* that {verb} {rest}"),
            _said(k, f"{verb} {rest}"),
            _said(k, f"{verb}s {rest}"),
        )
        for k in values
    )


def _said(constant: Any, *forms: str) -> tuple[str, ...]:
    return tuple(form.replace("K", spoken(constant)) for form in forms)


INT_PREDICATES: tuple[Group, ...] = (
    _adjective("int", "even", lambda x: x % 2 == 0, "{x} % 2 == 0"),
    _adjective("int", "odd", lambda x: x % 2 == 1, "{x} % 2 == 1"),
    _adjective("int", "positive", lambda x: x > 0, "{x} > 0"),
    _adjective("int", "negative", lambda x: x < 0, "{x} < 0"),
    _relation("int", "over", LARGE, lambda k: lambda x: x > k, "{x} > K", "greater than K", "above K"),
    _relation("int", "under", LARGE, lambda k: lambda x: x < k, "{x} < K", "less than K", "below K"),
    _relation("int", "at_least", LARGE, lambda k: lambda x: x >= k, "{x} >= K", "at least K"),
    _relation("int", "multiple", (3, 5), lambda k: lambda x: x % k == 0, "{x} % K == 0", "divisible by K"),
)

CHAR_PREDICATES: tuple[Group, ...] = (
    _relation("char", "vowel", ("aeiou",), lambda k: lambda c: c in k, "{x} in 'K'", "vowels"),
    _adjective("char", "upper-case", str.isupper, "{x}.isupper()"),
    _adjective("char", "alphabetic", str.isalpha, "{x}.isalpha()"),
)

WORD_PREDICATES: tuple[Group, ...] = (
    _relation("word", "longer", SMALL, lambda k: lambda w: len(w) > k, "len({arg}) > K", "longer than K"),
    _relation("word", "shorter", SMALL, lambda k: lambda w: len(w) < k, "len({arg}) < K", "shorter than K"),
    _verb("word", "contains", "ae", lambda k: lambda w: k in w, "'K' in {x}", "contain", "'K'"),
    _verb("word", "starts", "ae", lambda k: lambda w: w.startswith(k), "{x}.startswith('K')", "start", "with 'K'"),
)

PREDICATES: dict[str, tuple[Group, ...]] = {"int": INT_PREDICATES, "char": CHAR_PREDICATES, "word": WORD_PREDICATES}
