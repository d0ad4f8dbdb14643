"""Dictionaries: entries chosen and changed by key and by value."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from src.pocket.programs.composition import block, siblings
from src.pocket.programs.operators import Predicate, Transform, fill, speak
from src.pocket.programs.predicates import INT_PREDICATES, WORD_PREDICATES
from src.pocket.programs.transforms import INT_TRANSFORMS, WORD_CHANGES

Operator = Predicate | Transform
PART_GROUPS: dict[str, Any] = {
    "key_test": WORD_PREDICATES,
    "value_test": INT_PREDICATES,
    "key_change": WORD_CHANGES,
    "value_change": INT_TRANSFORMS,
}


@dataclass(frozen=True)
class TableRecipe:
    """A program that maps a dictionary to a dictionary: entries that pass the tests, with keys and values changed."""

    key_test: Predicate | None = None
    value_test: Predicate | None = None
    key_change: Transform | None = None
    value_change: Transform | None = None

    def _parts(self) -> dict[str, Operator]:
        parts = {name: getattr(self, name) for name in PART_GROUPS}
        return {name: part for name, part in parts.items() if part is not None}

    @property
    def key(self) -> str:
        return "|".join(("entries", *(f"{name}:{part.key}" for name, part in self._parts().items())))

    @property
    def family(self) -> str:
        return "entries"

    @property
    def parameters(self) -> tuple[str, ...]:
        return ("table",)

    def run(self, *arguments: Any) -> Any:
        (table,) = arguments
        result = {}
        for k, v in table.items():
            if (self.key_test is None or self.key_test.apply(k)) and (
                self.value_test is None or self.value_test.apply(v)
            ):
                result[self.key_change.apply(k) if self.key_change else k] = (
                    self.value_change.apply(v) if self.value_change else v
                )
        return result

    def body(self, style: str) -> list[str]:
        tests = [fill(test.code, name) for name, test in (("k", self.key_test), ("v", self.value_test)) if test]
        key = fill(self.key_change.code, "k") if self.key_change else "k"
        value = fill(self.value_change.code, "v") if self.value_change else "v"
        condition, entries = " and ".join(tests), "for k, v in table.items()"
        clause = f" if {condition}" if condition else ""
        if style == "loop":
            store = [f"result[{key}] = {value}"]
            inner = block(f"if {condition}:", store) if condition else store
            return ["result = {}", *block(f"{entries}:", inner), "return result"]
        if style == "steps" and condition and (key, value) != ("k", "v"):
            kept = f"kept = {{k: v {entries}{clause}}}"
            return [kept, f"return {{{key}: {value} for k, v in kept.items()}}"]
        if style == "functional":
            return [f"return dict(({key}, {value}) {entries}{clause})"]
        return [f"return {{{key}: {value} {entries}{clause}}}"]

    def sentence(self, rng: random.Random) -> str:
        whose = [
            f"{noun} {rng.choice(t.plural)}" for noun, t in (("keys", self.key_test), ("values", self.value_test)) if t
        ]
        changed = [
            speak(rng.choice(change.says), noun)
            for noun, change in (("keys", self.key_change), ("values", self.value_change))
            if change
        ]
        lead = rng.choice(("Return the entries of the table", "Make a dictionary of the entries of the table"))
        return f"{lead}{' whose ' * bool(whose)}{' and '.join(whose)}{' with ' * bool(changed)}{' and '.join(changed)}."

    def simpler(self) -> Iterator[TableRecipe]:
        for name in self._parts():
            yield self._with(name, None)

    def variants(self) -> Iterator[TableRecipe]:
        for name, part in self._parts().items():
            for other in siblings(PART_GROUPS[name], part):
                yield self._with(name, other)

    def _with(self, name: str, part: Operator | None) -> TableRecipe:
        return replace(self, **{name: part})  # type: ignore[arg-type]
