"""Base and plus inputs of a problem: a few ordinary ones, and the edge cases on which near misses fail."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import islice
from typing import Any

from src.pocket.programs.composition import Composition
from src.pocket.programs.inputs import edge_inputs, plain_inputs

BASE_INPUTS = 3
NEAR_MISSES = 40  # wrong programs that a problem's inputs must tell apart from the right one
DRAWS = 20  # sets of base inputs to choose from

Inputs = tuple[list[Any], ...]


def choose_inputs(composition: Composition, rng: random.Random) -> tuple[Inputs, Inputs] | None:
    """Choose base inputs that each catch some near miss but together miss one that the plus inputs catch.

    Of `DRAWS` random sets, the one that misses the fewest wins.

    Returns:
        Base and plus argument lists, or None if the composition has no such inputs.
    """
    pool, plus = plain_inputs(composition.parameters), edge_inputs(composition.parameters)
    wrong = [_fails(composition, near, (*pool, *plus)) for near in islice(composition.variants(), NEAR_MISSES)]
    caught_late = [fails for fails in wrong if any(fails[len(pool) :])]
    draws = [rng.sample(range(len(pool)), BASE_INPUTS) for _ in range(DRAWS)]
    passing = {
        tuple(draw): sum(not any(fails[index] for index in draw) for fails in caught_late)
        for draw in draws
        if all(any(fails[index] for fails in wrong) for index in draw)
    }
    chosen = min((draw for draw, count in passing.items() if count), key=passing.__getitem__, default=None)
    if chosen is None:
        return None
    rest = [arguments for index, arguments in enumerate(pool) if index not in chosen]
    return tuple(pool[index] for index in chosen), (*plus, *rest[:8])


def tolerance(composition: Composition, inputs: Iterable[list[Any]]) -> float:
    """The problem's `atol`: 1e-6 if a result is a float, else 0."""
    return 1e-6 if any(isinstance(composition.run(*arguments), float) for arguments in inputs) else 0


def _fails(right: Composition, wrong: Composition, inputs: Iterable[list[Any]]) -> list[bool]:
    return [right.run(*arguments) != wrong.run(*arguments) for arguments in inputs]
