"""The catalogue of arrangements: groups of functions from a sequence to a list of its elements."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from src.pocket.operators import Arrangement

Group = tuple[Arrangement, ...]
Arrange = Callable[[list[Any]], list[Any]]


def _one(name: str, apply: Arrange, code: str, says: tuple[str, ...], does: str, takes: str = "any") -> Group:
    """An arrangement without a constant."""
    return (Arrangement(name, takes, apply, code, says, (does,)),)


def _many(name: str, values: Iterable[int], apply: Callable[[int], Arrange], code: str, says: str, does: str) -> Group:
    """An arrangement for each of some constants `K`."""
    return tuple(
        Arrangement(
            f"{name}({k})",
            "any",
            apply(k),
            code.replace("K", str(k)),
            (says.replace("K", str(k)),),
            (does.replace("K", str(k)),),
        )
        for k in values
    )


_CUTS: tuple[Group, ...] = (
    _many("first", (2, 3, 4), lambda k: lambda v: v[:k], "{x}[:K]", "first K of the *", "take the first K"),
    _many("last", (2, 3, 4), lambda k: lambda v: v[-k:], "{x}[-K:]", "last K of the *", "take the last K"),
    _many("skip", (1, 2, 3), lambda k: lambda v: v[k:], "{x}[K:]", "* after the first K", "skip the first K"),
)
_ORDERS: tuple[Group, ...] = (
    _one("sort", sorted, "sorted({arg})", ("* in increasing order", "* sorted"), "sort them"),
    _one(
        "descend", lambda v: sorted(v, reverse=True), "sorted({arg}, reverse=True)",
        ("* in decreasing order",), "sort them in decreasing order",
    ),
    _one("reverse", lambda v: v[::-1], "{x}[::-1]", ("* in reverse order",), "reverse their order"),
    _one("second", lambda v: v[::2], "{x}[::2]", ("alternate *",), "take every second one"),
    _one(
        "unique", lambda v: sorted(set(v)), "sorted(set({arg}))",
        ("different * in order",), "sort them without repeats",
    ),
)  # fmt: skip
_BY_LENGTH = _one(
    "by_length", lambda v: sorted(v, key=len), "sorted({arg}, key=len)",
    ("* in order of length",), "sort them by length", "word",
)  # fmt: skip
_BY_SIZE = _one(
    "by_size", lambda v: sorted(v, key=abs), "sorted({arg}, key=abs)",
    ("* in order of absolute value",), "sort them by absolute value", "int",
)  # fmt: skip

ARRANGEMENTS: dict[str, tuple[Group, ...]] = {
    "int": (*_ORDERS, *_CUTS, _BY_SIZE),
    "char": _ORDERS,
    "word": (*_ORDERS, *_CUTS, _BY_LENGTH),
}
