"""The interface of every composition of operators, and the near misses of an operator."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeVar

STYLES = ("comprehension", "steps", "loop", "functional")
INDENT = "    "

_Operator = TypeVar("_Operator")


class Composition(Protocol):
    """A program's meaning, from which its code and its sentence are rendered."""

    @property
    def key(self) -> str:
        """The composition in operator names; compositions with equal keys are the same."""
        ...

    @property
    def family(self) -> str:
        """The family to which it belongs."""
        ...

    @property
    def parameters(self) -> tuple[str, ...]:
        """Parameter names of the program; a name also says what kind of value it takes."""
        ...

    def run(self, *arguments: Any) -> Any:
        """The result according to the operators' meanings, without generating code."""
        ...

    def body(self, style: str) -> list[str]:
        """Lines of the function's body in one of `STYLES`, indented from column 0."""
        ...

    def sentence(self, rng: random.Random) -> str:
        """One English sentence that says what the program returns."""
        ...

    def simpler(self) -> Iterator[Composition]:
        """The compositions with one operator removed, or one combined operator replaced with one of its parts."""
        ...

    def variants(self) -> Iterator[Composition]:
        """The compositions with one operator replaced with another of its group: near misses."""
        ...


def siblings(groups: Sequence[Sequence[_Operator]], operator: _Operator) -> Iterator[_Operator]:
    """The near misses of an operator: other members of its group, and the member at its position in other groups.

    Groups with constants hold them in the same order, so that "greater than 7" is paired with "at least 7".
    """
    own = next((group for group in groups if operator in group), ())
    place = own.index(operator) if own else 0
    yield from (other for other in own if other is not operator)
    yield from (group[min(place, len(group) - 1)] for group in groups if group is not own)


def block(header: str, lines: list[str]) -> list[str]:
    """A header line and its indented block."""
    return [header, *(INDENT + line for line in lines)]
