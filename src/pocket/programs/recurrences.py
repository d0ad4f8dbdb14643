"""Recurrences: a number changed repeatedly in a loop."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from src.pocket.programs.composition import block, siblings
from src.pocket.programs.operators import Predicate, Transform, fill, speak
from src.pocket.programs.predicates import INT_PREDICATES
from src.pocket.programs.transforms import INT_LINEAR

OUTCOMES = {
    "last": "the last value",
    "list": "the list of the values",
    "sum": "the sum of the values",
    "largest": "the largest value, or zero if none",
}


@dataclass(frozen=True)
class Recurrence:
    """A program that applies `change` to a number for some rounds; with `test`, only values that satisfy it count."""

    change: Transform
    outcome: str
    test: Predicate | None = None

    @property
    def key(self) -> str:
        return f"recurrence|{self.change.key}|{self.outcome}|{self.test.key if self.test else 'all'}"

    @property
    def family(self) -> str:
        return "recurrence"

    @property
    def parameters(self) -> tuple[str, ...]:
        return ("x", "rounds")

    def run(self, *arguments: Any) -> Any:
        value, rounds = arguments
        values = []
        for _ in range(rounds):
            value = self.change.apply(value)
            values.append(value)
        if self.outcome == "last":
            return value
        counted = [each for each in values if self.test is None or self.test.apply(each)]
        if self.outcome == "largest":
            return max(counted, default=0)
        return counted if self.outcome == "list" else sum(counted)

    def body(self, style: str) -> list[str]:
        counter = "i" if style == "functional" else "_"
        if self.outcome == "last":
            return [*block(f"for {counter} in range(rounds):", [f"x = {fill(self.change.code, 'x')}"]), "return x"]
        total = self.outcome == "sum" and style in ("loop", "comprehension")
        start, update = ("total = 0", "total += x") if total else ("values = []", "values.append(x)")
        keep = block(f"if {fill(self.test.code, 'x')}:", [update]) if self.test else [update]
        finish = {"list": "values", "sum": "total" if total else "sum(values)", "largest": "max(values, default=0)"}
        loop = block(f"for {counter} in range(rounds):", [f"x = {fill(self.change.code, 'x')}", *keep])
        return [start, *loop, f"return {finish[self.outcome]}"]

    def sentence(self, rng: random.Random) -> str:
        change = speak(rng.choice(self.change.once or self.change.does), "it")
        outcome = OUTCOMES[self.outcome]
        if self.test:
            outcome = outcome.replace("values", speak(rng.choice(self.test.short), "values"), 1)
            outcome = outcome.replace(
                "largest value,", f"largest of the {speak(rng.choice(self.test.short), 'values')},"
            )
        if rng.random() < 0.5:
            return f"Start with x, in each of the rounds {change}, and return {outcome}."
        return f"Return {outcome} after so many rounds of this to x: {change}."

    def simpler(self) -> Iterator[Recurrence]:
        yield from (replace(self, change=part) for part in self.change.parts)
        if self.test:
            yield replace(self, test=None)

    def variants(self) -> Iterator[Recurrence]:
        for change in siblings(INT_LINEAR, self.change):
            yield replace(self, change=change)
        for outcome in OUTCOMES:
            if outcome != self.outcome and (outcome != "last" or self.test is None):
                yield replace(self, outcome=outcome)
        if self.test:
            for test in siblings(INT_PREDICATES, self.test):
                yield replace(self, test=test)
