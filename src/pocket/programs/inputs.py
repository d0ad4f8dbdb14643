"""Inputs of pocket programs by parameter name: plain ones for the base tests, edge cases for the plus tests."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

from src.utils.seeding import derive_seed

_WORDS = (
    *("apple", "tree", "river", "stone", "level", "blue", "noon", "green", "anna", "the"),
    *("sun", "ate", "moon", "kite", "bread", "ox", "orange", "lamp", "sea", "tower"),
)
# Every constant that an operator may hold, with its neighbors and both signs.
_DENSE = list(range(-12, 13))
_DENSE_TABLE = {letter * (1 + place % 5): place - 12 for place, letter in enumerate("tabcdefghijklmnopqrsuvwxy")}

_EDGES: dict[str, tuple[Any, ...]] = {
    "numbers": (
        [], [0], [-1], [7], [-3, -8, -5], [0, 0, 0], [5, 5, 2, 2, 5], _DENSE, _DENSE[::-1],
        [9, -9, 8, -8, 7, -7, 6, -6], [3, 4, 5, 6, 7, 8, 9, 3], [100, -250, 33, 12], [-4, 11], [1, 2, 1, 2, 1],
    ),
    "n": (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 25, 36, 60, 77, 90, 100, 101, 120, 144),
    "x": (0, 1, -1, 2, -2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, -3, -4, -5, -6, -7, -8, -9, 100, -77),
    "words": (
        [], [""], ["a"], ["", "", "b"], ["Anna", "anna", "ANNA"], ["aaa", "bb", "c", "bb"], ["to be", " or ", "not"],
        ["tea", "ten", "tent", "tease"], ["ab", "abc", "abcd", "abcde", "abcdef"], ["b", "A", "a", "B"],
        ["eee", "aoa", "sees", "oo"], ["bus", "as", "tones", "arose", "banana"], ["noon", "Level", "x1x"], ["zz", "z"],
    ),
    "text": (
        "", " ", "a", "A", "ab", "aba", "Anna went to SEE", "  two  spaces ", "1a2b 3c", "tatat", "aeiou AEIOU",
        "zzz yyy zzz", "Noon, at 12:00!", "b e a o s t n", "sass", "tent tease banana", "\tTab", "aaaa", "be", "abcd",
    ),
    "table": (
        {}, {"a": 0}, {"": -1}, {"b": 5, "a": 5, "c": 5}, {"Anna": -3, "anna": 3, "noon": 9}, {"x": -8, "yy": 0},
        _DENSE_TABLE,
        {"ten": 3, "as": 4, "bee": 6, "tone": 7, "bus": 8, "aeon": 9}, {"AB": 100, "cd ": -45, " e": 30},
        {"level": 2, "ease": -6, "aa": -9, "b": -4, "toot": 12},
    ),
    "rows": (
        [], [[]], [[], [0]], [[-1], [-5, 3]], [[5, 5], [5, 5], [5]], [_DENSE, [], [9]], [[7]],
        [[3, 4], [5, 6, 7], [8, 9]],
        [[-9, -8], [-7, -6, -5], [-4, -3]], [[100], [-100, 50]], [[0], [0, 0]], [[12, 10, 11, 6], [2]],
    ),
    "rounds": (0, 1, 2, 3, 4, 1, 2, 3),
}  # fmt: skip


def _plain(name: str, rng: random.Random) -> Any:
    """An ordinary value: numbers from 1 to 30, lists of medium length, short lower-case words."""
    numbers = [rng.randint(1, 30) for _ in range(rng.randint(4, 7))]
    words = rng.sample(_WORDS, rng.randint(3, 6))
    values = {
        "numbers": numbers,
        "left": numbers,
        "right": [rng.randint(1, 30) for _ in numbers],
        "n": rng.choice((rng.randint(6, 30), rng.randint(100, 150))),
        "x": rng.randint(1, 30),
        "rounds": rng.randint(2, 3),
        "words": words,
        "text": " ".join(words[:3]),
        "table": {word: rng.randint(1, 30) for word in words},
        "rows": [[rng.randint(1, 30) for _ in range(rng.randint(2, 4))] for _ in range(rng.randint(2, 4))],
    }
    return values[name]


@cache
def plain_inputs(parameters: tuple[str, ...], count: int = 16) -> tuple[list[Any], ...]:
    """`count` ordinary argument lists, always the same ones."""
    rng = random.Random(derive_seed("pocket inputs", *parameters))
    return tuple([_plain(name, rng) for name in parameters] for _ in range(count))


@cache
def edge_inputs(parameters: tuple[str, ...]) -> tuple[list[Any], ...]:
    """The argument lists on which plausible programs fail: empty, zero, negative, tied, at a constant."""
    if parameters == ("left", "right"):
        lists = _EDGES["numbers"]
        return tuple([left, right] for left, right in zip(lists, (*lists[4:], *lists[:4]), strict=True))
    if parameters == ("x", "rounds"):
        return tuple([x, rounds] for x, rounds in zip(_EDGES["x"], _EDGES["rounds"] * 3, strict=True))
    (name,) = parameters
    return tuple([value] for value in _EDGES[name])


def probes(parameters: tuple[str, ...]) -> tuple[list[Any], ...]:
    """The inputs that tell behaviors apart: all edge cases and some ordinary ones."""
    return edge_inputs(parameters) + plain_inputs(parameters)[:8]
