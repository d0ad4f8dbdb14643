"""The catalog of arrangements: groups of functions from a sequence to a list of its elements."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from src.pocket.programs.operators import Arrangement, spoken

Group = tuple[Arrangement, ...]
Arrange = Callable[[list[Any]], list[Any]]


def _one(name: str, apply: Arrange, code: str, says: tuple[str, ...], does: str) -> Group:
    """An arrangement without a constant."""
    return (Arrangement(name, "any", apply, code, says, (does,)),)


def _many(name: str, values: Iterable[int], apply: Callable[[int], Arrange], code: str, says: str, does: str) -> Group:
    """An arrangement for each of some constants `K`."""
    return tuple(
        Arrangement(
            f"{name}({k})",
            "any",
            apply(k),
            code.replace("K", str(k)),
            (says.replace("K", spoken(k)),),
            (does.replace("K", spoken(k)),),
        )
        for k in values
    )


_CUTS: tuple[Group, ...] = (
    _many("first", (2, 3), lambda k: lambda v: v[:k], "{x}[:K]", "first K of the *", "take the first K"),
)
_ORDERS: tuple[Group, ...] = (
    _one("sort", sorted, "sorted({arg})", ("* in increasing order", "* sorted"), "sort them"),
    _one(
        "descend", lambda v: sorted(v, reverse=True), "sorted({arg}, reverse=True)",
        ("* in decreasing order",), "sort them in decreasing order",
    ),
    _one("reverse", lambda v: v[::-1], "{x}[::-1]", ("* in reverse order",), "reverse their order"),
)  # fmt: skip
ARRANGEMENTS: dict[str, tuple[Group, ...]] = {
    "int": (*_ORDERS, *_CUTS),
    "char": _ORDERS,
    "word": (*_ORDERS, *_CUTS),
}
