"""The catalogue of predicates: groups of yes/no questions, each group one idea with its constants.

`PREDICATES[kind]` is a tuple of groups. A group is drawn first and its member second, so that an idea with many
constants is no more frequent than one without. `K` in a template stands for the constant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from src.pocket.operators import Predicate

SMALL = (2, 3, 4)
LARGE = (2, 3, 5, 7, 9)
Test = Callable[[Any], bool]
Group = tuple[Predicate, ...]


def _adjective(kind: str, word: str, test: Test, code: str) -> Group:
    """Spoken before its noun: "even numbers", "numbers that are even", "x is even"."""
    return (Predicate(word, kind, test, code, (f"{word} *", f"* that are {word}"), (f"are {word}",), (f"is {word}",)),)


def _relation(
    kind: str, name: str, values: Iterable[Any], test: Callable[[Any], Test], code: str, *words: str
) -> Group:
    """Spoken after its noun: "numbers above 3", "numbers that are above 3", "x is above 3"."""
    return tuple(
        Predicate(
            f"{name}({k})",
            kind,
            test(k),
            code.replace("K", str(k)),
            tuple(form.replace("K", str(k)) for form in (*(f"* {word}" for word in words), f"* that are {words[0]}")),
            tuple(f"are {word}".replace("K", str(k)) for word in words),
            tuple(f"is {word}".replace("K", str(k)) for word in words),
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
            (f"* that {verb} {rest}".replace("K", str(k)),),
            (f"{verb} {rest}".replace("K", str(k)),),
            (f"{verb}s {rest}".replace("K", str(k)),),
        )
        for k in values
    )


INT_PREDICATES: tuple[Group, ...] = (
    _adjective("int", "even", lambda x: x % 2 == 0, "{x} % 2 == 0"),
    _adjective("int", "odd", lambda x: x % 2 == 1, "{x} % 2 == 1"),
    _adjective("int", "positive", lambda x: x > 0, "{x} > 0"),
    _adjective("int", "negative", lambda x: x < 0, "{x} < 0"),
    _adjective("int", "non-negative", lambda x: x >= 0, "{x} >= 0"),
    _adjective("int", "non-zero", lambda x: x != 0, "{x} != 0"),
    _relation("int", "over", LARGE, lambda k: lambda x: x > k, "{x} > K", "greater than K", "above K"),
    _relation("int", "under", LARGE, lambda k: lambda x: x < k, "{x} < K", "less than K", "below K"),
    _relation("int", "at_least", LARGE, lambda k: lambda x: x >= k, "{x} >= K", "at least K"),
    _relation("int", "at_most", LARGE, lambda k: lambda x: x <= k, "{x} <= K", "at most K"),
    _relation("int", "multiple", (3, 5, 7), lambda k: lambda x: x % k == 0, "{x} % K == 0", "divisible by K"),
    _relation("int", "no_multiple", (3, 5, 7), lambda k: lambda x: x % k != 0, "{x} % K != 0", "not divisible by K"),
    _relation("int", "other_than", LARGE, lambda k: lambda x: x != k, "{x} != K", "different from K"),
    _relation("int", "far", LARGE, lambda k: lambda x: abs(x) > k, "abs({arg}) > K", "farther than K from zero"),
)

CHAR_PREDICATES: tuple[Group, ...] = (
    _relation("char", "vowel", ("aeiou",), lambda k: lambda c: c in k, "{x} in 'K'", "vowels"),
    _relation("char", "no_vowel", ("aeiou",), lambda k: lambda c: c not in k, "{x} not in 'K'", "not vowels"),
    _adjective("char", "upper-case", str.isupper, "{x}.isupper()"),
    _adjective("char", "lower-case", str.islower, "{x}.islower()"),
    _adjective("char", "alphabetic", str.isalpha, "{x}.isalpha()"),
    _adjective("char", "numeric", str.isdigit, "{x}.isdigit()"),
    _adjective("char", "non-blank", lambda c: not c.isspace(), "not {x}.isspace()"),
    _relation("char", "after", "egmr", lambda k: lambda c: c > k, "{x} > 'K'", "after 'K' in order"),
    _relation("char", "other_than", "aeos", lambda k: lambda c: c != k, "{x} != 'K'", "different from 'K'"),
)

WORD_PREDICATES: tuple[Group, ...] = (
    _relation("word", "longer", SMALL, lambda k: lambda w: len(w) > k, "len({arg}) > K", "longer than K"),
    _relation("word", "shorter", SMALL, lambda k: lambda w: len(w) < k, "len({arg}) < K", "shorter than K"),
    _relation("word", "length", SMALL, lambda k: lambda w: len(w) == k, "len({arg}) == K", "K letters long"),
    _adjective("word", "even-length", lambda w: len(w) % 2 == 0, "len({arg}) % 2 == 0"),
    _adjective("word", "palindromic", lambda w: w == w[::-1], "{x} == {x}[::-1]"),
    _adjective("word", "non-empty", lambda w: w != "", "{x} != ''"),
    _adjective("word", "lower-case", str.islower, "{x}.islower()"),
    _verb("word", "contains", "aeo", lambda k: lambda w: k in w, "'K' in {x}", "contain", "'K'"),
    _verb("word", "starts", "abt", lambda k: lambda w: w.startswith(k), "{x}.startswith('K')", "start", "with 'K'"),
    _verb("word", "ends", "ens", lambda k: lambda w: w.endswith(k), "{x}.endswith('K')", "end", "with 'K'"),
)

PREDICATES: dict[str, tuple[Group, ...]] = {"int": INT_PREDICATES, "char": CHAR_PREDICATES, "word": WORD_PREDICATES}
