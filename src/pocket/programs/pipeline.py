"""Pipelines: a source, up to a few filters, maps and arrangements, and a reducer."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from src.pocket.programs.arrangements import ARRANGEMENTS
from src.pocket.programs.composition import siblings
from src.pocket.programs.operators import Arrangement, Predicate, Reducer, Source, Transform, speak
from src.pocket.programs.pipeline_code import Step, pipeline_body
from src.pocket.programs.predicates import PREDICATES
from src.pocket.programs.reducers import REDUCERS
from src.pocket.programs.rows import ROW_TRANSFORMS
from src.pocket.programs.transforms import TRANSFORMS

_LEADS = ("Return", "Compute", "Find")


@dataclass(frozen=True)
class Pipeline:
    """A program that passes elements from `source` through `steps` into `reducer`; their kinds must match."""

    source: Source
    steps: tuple[Step, ...]
    reducer: Reducer

    @property
    def key(self) -> str:
        steps = (f"{type(step).__name__.lower()}:{step.key}" for step in self.steps)
        return "|".join((self.source.key, *steps, self.reducer.key))

    @property
    def family(self) -> str:
        return self.source.key

    @property
    def parameters(self) -> tuple[str, ...]:
        return self.source.parameters

    def kinds(self) -> list[str]:
        """The element kind before each step and after the last."""
        kinds = [self.source.gives]
        for step in self.steps:
            kinds.append(step.gives if isinstance(step, Transform) else kinds[-1])
        return kinds

    def run(self, *arguments: Any) -> Any:
        elements = self.source.apply(*arguments)
        for step in self.steps:
            if isinstance(step, Arrangement):
                elements = step.apply(elements)
            elif isinstance(step, Predicate):
                elements = [x for x in elements if step.apply(x)]
            else:
                elements = [step.apply(x) for x in elements]
        return self.reducer.apply(elements)

    def body(self, style: str) -> list[str]:
        return pipeline_body(self.source, self.steps, self.reducer, style)

    def sentence(self, rng: random.Random) -> str:
        return self._stepwise(rng) if self.steps and rng.random() < 0.4 else self._nominal(rng)

    def _nominal(self, rng: random.Random) -> str:
        noun, bare = rng.choice(self.source.says), True
        for step in self.steps:
            if isinstance(step, Predicate):
                noun = speak(rng.choice(step.short), noun if bare else "ones") + ("" if bare else f" among the {noun}")
            else:
                noun = speak(rng.choice(step.says), noun)
            bare = False
        return f"{rng.choice(_LEADS)} {speak(rng.choice(self.reducer.says), f'the {noun}')}."

    def _stepwise(self, rng: random.Random) -> str:
        parts = [f"Take the {rng.choice(self.source.says)}"]
        for step in self.steps:
            if isinstance(step, Predicate):
                parts.append(f"keep the {speak(rng.choice(step.short), 'ones')}")
            else:
                parts.append(speak(rng.choice(step.does), "them"))
        return f"{', '.join(parts)} and return {speak(rng.choice(self.reducer.says), 'the result')}."

    def simpler(self) -> Iterator[Pipeline]:
        for index, (step, kind) in enumerate(zip(self.steps, self.kinds(), strict=False)):
            before, after = self.steps[:index], self.steps[index + 1 :]
            if not isinstance(step, Transform) or step.gives == kind:
                yield replace(self, steps=before + after)
            if not isinstance(step, Arrangement):
                yield from (replace(self, steps=(*before, part, *after)) for part in step.parts)

    def variants(self) -> Iterator[Pipeline]:
        kinds = self.kinds()
        for index, (step, kind) in enumerate(zip(self.steps, kinds, strict=False)):
            for other in _exchanges(step, kind):
                yield replace(self, steps=(*self.steps[:index], other, *self.steps[index + 1 :]))
        for reducer in siblings(REDUCERS[kinds[-1]], self.reducer):
            yield replace(self, reducer=reducer)


def _exchanges(step: Step, kind: str) -> Iterator[Step]:
    if isinstance(step, Predicate):
        yield from siblings(PREDICATES[kind], step)
    elif isinstance(step, Arrangement):
        yield from siblings(ARRANGEMENTS[kind], step)
    else:
        groups = ROW_TRANSFORMS if kind == "row" else TRANSFORMS[kind]
        yield from (other for other in siblings(groups, step) if other.gives == step.gives)
