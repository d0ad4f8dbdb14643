"""Random compositions: the families, their frequencies and the sizes of their members."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from src.pocket.programs.arrangements import ARRANGEMENTS
from src.pocket.programs.branches import Choice
from src.pocket.programs.composition import Composition
from src.pocket.programs.operators import Transform, both, branch, chain, either
from src.pocket.programs.origins import SOURCES
from src.pocket.programs.pipeline import Pipeline
from src.pocket.programs.pipeline_code import Step
from src.pocket.programs.predicates import INT_PREDICATES, PREDICATES
from src.pocket.programs.recurrences import OUTCOMES, Recurrence
from src.pocket.programs.reducers import REDUCERS
from src.pocket.programs.rows import ROW_TRANSFORMS
from src.pocket.programs.tables import PART_GROUPS, TableRecipe
from src.pocket.programs.transforms import INT_LINEAR, INT_TRANSFORMS, TRANSFORMS, WORD_CHANGES

_Operator = TypeVar("_Operator")
STEP_COUNTS = (0, 1, 1, 1, 1, 1, 1, 2)  # steps of a pipeline, drawn evenly from these
COMBINED = 0.04  # how often a predicate or transform is itself a combination of two


def draw_composition(rng: random.Random) -> Composition:
    """Draw one composition; all sources and families are equally frequent."""
    families: tuple[Callable[[random.Random], Composition], ...] = (_choice, _recurrence, _table)
    index = rng.randrange(len(SOURCES) + len(families))
    return _pipeline(rng, index) if index < len(SOURCES) else families[index - len(SOURCES)](rng)


def _pick(rng: random.Random, groups: Sequence[Sequence[_Operator]]) -> _Operator:
    return rng.choice(rng.choice(groups))


def _pipeline(rng: random.Random, source_index: int) -> Pipeline:
    source = SOURCES[source_index]
    kind, steps = source.gives, []
    if kind == "row":
        step: Step = _pick(rng, ROW_TRANSFORMS)
        steps.append(step)
        kind = "int"
    for _ in range(max(0, rng.choice(STEP_COUNTS) - len(steps))):
        step = rng.choice((_predicate, _transform, _arrangement))(rng, kind)
        steps.append(step)
        kind = step.gives if isinstance(step, Transform) else kind
    return Pipeline(source, tuple(steps), _pick(rng, REDUCERS[kind]))


def _predicate(rng: random.Random, kind: str) -> Step:
    if rng.random() >= COMBINED:
        return _pick(rng, PREDICATES[kind])
    first, second = (rng.choice(group) for group in rng.sample(PREDICATES[kind], 2))
    return rng.choice((both, either))(first, second)


def _transform(rng: random.Random, kind: str) -> Step:
    if kind != "int" or rng.random() >= COMBINED:
        return _pick(rng, TRANSFORMS[kind])
    first, second = (rng.choice(group) for group in rng.sample(INT_TRANSFORMS, 2))
    return chain(first, second) if rng.random() < 0.5 else branch(_pick(rng, INT_PREDICATES), first, second)


def _arrangement(rng: random.Random, kind: str) -> Step:
    return _pick(rng, ARRANGEMENTS[kind])


def _choice(rng: random.Random) -> Choice:
    kind = rng.choice(("int", "word"))
    changes = INT_TRANSFORMS if kind == "int" else WORD_CHANGES
    cases = tuple((_pick(rng, PREDICATES[kind]), _pick(rng, changes)) for _ in range(rng.choice((1, 1, 1, 1, 1, 1, 2))))
    return Choice(cases, _pick(rng, changes))


def _recurrence(rng: random.Random) -> Recurrence:
    first, second = (rng.choice(group) for group in rng.sample(INT_LINEAR, 2))  # powers of powers grow too fast
    change = rng.choice((first, first, chain(first, second), branch(_pick(rng, INT_PREDICATES), first, second)))
    outcome = rng.choice(tuple(OUTCOMES))
    test = _pick(rng, INT_PREDICATES) if outcome != "last" and rng.random() < 0.3 else None
    return Recurrence(change, outcome, test)


def _table(rng: random.Random) -> TableRecipe:
    names = rng.sample(sorted(PART_GROUPS), rng.choice((1, 2, 2)))
    return TableRecipe(**{name: _pick(rng, PART_GROUPS[name]) for name in names})
