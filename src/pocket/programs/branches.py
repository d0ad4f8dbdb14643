"""Choices: one value, a few conditions, and a transform of the value under each."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from src.pocket.programs.composition import block, siblings
from src.pocket.programs.operators import Predicate, Transform, fill, speak
from src.pocket.programs.predicates import PREDICATES
from src.pocket.programs.transforms import TRANSFORMS

PARAMETERS = {"int": "x", "word": "text"}  # element kind -> parameter
Case = tuple[Predicate, Transform]


@dataclass(frozen=True)
class Choice:
    """A program that applies the transform of the first case whose predicate holds, otherwise `other`."""

    cases: tuple[Case, ...]
    other: Transform

    @property
    def key(self) -> str:
        cases = (f"{test.key}>{change.key}" for test, change in self.cases)
        return "|".join((f"choice_{self.other.takes}", *cases, self.other.key))

    @property
    def family(self) -> str:
        return f"choice_{self.other.takes}"

    @property
    def parameters(self) -> tuple[str, ...]:
        return (PARAMETERS[self.other.takes],)

    def run(self, *arguments: Any) -> Any:
        (value,) = arguments
        return next((change for test, change in self.cases if test.apply(value)), self.other).apply(value)

    def body(self, style: str) -> list[str]:
        (name,) = self.parameters
        cases = [(fill(test.code, name), fill(change.code, name)) for test, change in self.cases]
        other = fill(self.other.code, name)
        if style == "functional":
            lines = [f"return {other}"]
            for test, value in reversed(cases):
                lines = [lines[0].replace("return ", f"return {value} if {test} else ", 1)]
            return lines
        if style == "steps":
            lines = []
            for index, (test, value) in enumerate(cases):
                lines += block(f"{'el' if index else ''}if {test}:", [f"result = {value}"])
            return [*lines, *block("else:", [f"result = {other}"]), "return result"]
        lines = [line for test, value in cases for line in block(f"if {test}:", [f"return {value}"])]
        return lines + (
            block("else:", [f"return {other}"]) if style == "loop" and len(cases) == 1 else [f"return {other}"]
        )

    def sentence(self, rng: random.Random) -> str:
        (name,) = self.parameters
        said = [(speak_of(rng.choice(test.singular), name), self._value(change, rng)) for test, change in self.cases]
        other = self._value(self.other, rng)
        if rng.random() < 0.5:
            return f"Return {', '.join(f'{value} if {test}' for test, value in said)}, otherwise {other}."
        return f"{', '.join(f'If {test} return {value}' for test, value in said)}, else return {other}."

    def _value(self, change: Transform, rng: random.Random) -> str:
        return speak(rng.choice(change.says), self.parameters[0])

    def simpler(self) -> Iterator[Choice]:
        for index, (_, change) in enumerate(self.cases):
            rest = self.cases[:index] + self.cases[index + 1 :]
            yield replace(self, cases=rest)
            yield Choice(rest, change)

    def variants(self) -> Iterator[Choice]:
        for index, (test, change) in enumerate(self.cases):
            before, after = self.cases[:index], self.cases[index + 1 :]
            for predicate in siblings(PREDICATES[test.takes], test):
                yield replace(self, cases=(*before, (predicate, change), *after))
            for transform in _exchanges(change):
                yield replace(self, cases=(*before, (test, transform), *after))
        for transform in _exchanges(self.other):
            yield replace(self, other=transform)


def speak_of(condition: str, name: str) -> str:
    """The condition "is even" of a named thing."""
    return f"{name} {condition}"


def _exchanges(change: Transform) -> Iterator[Transform]:
    return (other for other in siblings(TRANSFORMS[change.takes], change) if other.gives == change.gives)
