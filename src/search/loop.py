"""The search itself: ask a sampler for points, score them, tell it the scores, and record every point.

An interrupted search is replayed: the sampler is asked again from the beginning, and the recorded scores answer it.
Samplers draw from a seed, so it asks for the same points as before, and the result is that of an uninterrupted search.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import TrialState

from src.search.space import Point, Space
from src.utils.errors import Stopped, UserError
from src.utils.jsonl import append_sealed, read_sealed

Measured = Mapping[str, float]
Score = Callable[[Sequence[Point]], Iterator[Measured | UserError]]
"""For each of several points, everything measured, the objectives among it, or the reason why it cannot be scored."""


@dataclass(frozen=True)
class Objective:
    """A value to optimize.

    Args:
        name: Its name in what is measured.
        minimize: False: larger is better.
    """

    name: str
    minimize: bool


@dataclass(frozen=True)
class Trial:
    """A point with its scores.

    Args:
        number: From 0.
        point: The point.
        measured: By name, the objectives among them; empty if it could not be scored.
        seconds: Time that it took; 0 for a point that was scored before.
        reason: Why it could not be scored, else empty.
    """

    number: int
    point: Point
    measured: Measured = field(default_factory=dict)
    seconds: float = 0.0
    reason: str = ""

    @property
    def state(self) -> str:
        """`finished` or `failed`."""
        return "failed" if self.reason else "finished"

    def scores(self, objectives: Sequence[Objective]) -> list[float]:
        """The values of the objectives."""
        return [self.measured[objective.name] for objective in objectives]


@dataclass(frozen=True)
class Search:
    """One search.

    Args:
        space: Points to choose from.
        sampler: Chooses them; it has not been asked before.
        objectives: One or more values to optimize.
        budget: Number of points.
        start: The first point; None: the sampler's.
        batch: Points that are asked for together, before the scores of any of them are known.
    """

    space: Space
    sampler: BaseSampler
    objectives: Sequence[Objective]
    budget: int
    start: Point | None = None
    batch: int = 1

    def run(self, score: Score, journal: Path) -> Iterator[Trial]:
        """Yield every point with its scores; points recorded in the journal are not scored again.

        Args:
            score: Scores a point.
            journal: JSON lines, one per scored point; created if missing.

        Raises:
            UserError: The first point cannot be scored, or the journal belongs to another search.
        """
        ways = {True: StudyDirection.MINIMIZE, False: StudyDirection.MAXIMIZE}
        directions = [ways[objective.minimize] for objective in self.objectives]
        study = optuna.create_study(directions=directions, sampler=self.sampler)
        if self.start is not None:
            study.enqueue_trial(self.space.parameters(self.start))
        recorded = [_read(line) for line in read_sealed(journal)]
        scored: dict[str, Trial] = {}
        for first in range(0, self.budget, self.batch):
            asked = [study.ask() for _ in range(min(self.batch, self.budget - first))]
            points = [self.space.ask(one) for one in asked]
            known, new = recorded[first : first + len(points)], dict[str, Point]()
            for trial, point in zip(known, points, strict=False):
                if trial.point != point:
                    other = f"point {trial.number} is {trial.point}, not {point}"
                    raise UserError(f"{journal} holds another search: {other}")
                scored[_key(point)] = trial
            for point in points[len(known) :]:
                if _key(point) not in scored:
                    new[_key(point)] = point
            results = score(list(new.values())) if new else iter(())
            for number, (one, point) in enumerate(zip(asked, points, strict=True), start=first):
                if number < len(recorded):
                    trial = recorded[number]
                else:
                    repeated = scored.get(_key(point))
                    trial = self._scored(number, point, results) if repeated is None else _again(number, repeated)
                    append_sealed(journal, asdict(trial))
                scored[_key(point)] = trial
                if trial.reason:
                    study.tell(one, state=TrialState.FAIL)
                else:
                    study.tell(one, trial.scores(self.objectives))
                yield trial

    def _scored(self, number: int, point: Point, results: Iterator[Measured | UserError]) -> Trial:
        started = time.monotonic()
        found = next(results)
        seconds = round(time.monotonic() - started, 3)
        if isinstance(found, UserError):
            if number == 0 or isinstance(found, Stopped):  # what is wrong with the parents is wrong with every point
                raise found
            return Trial(number, point, {}, seconds, str(found))
        wrong = [objective.name for objective in self.objectives if not math.isfinite(found[objective.name])]
        if wrong:
            return Trial(number, point, {}, seconds, f"{wrong[0]} is not finite")
        return Trial(number, point, dict(found), seconds)


def _again(number: int, trial: Trial) -> Trial:
    """A point that was scored before."""
    return replace(trial, number=number, seconds=0.0)


def front(trials: Sequence[Trial], objectives: Sequence[Objective]) -> list[Trial]:
    """The finished trials that no other one beats in all objectives, by number; of equal ones the first."""
    finished = [trial for trial in trials if not trial.reason]
    costs = {trial.number: _costs(trial, objectives) for trial in finished}

    def beaten(trial: Trial) -> bool:
        own = costs[trial.number]
        return any(
            all(a <= b for a, b in zip(costs[other.number], own, strict=True))
            and (costs[other.number] != own or other.number < trial.number)
            for other in finished
            if other is not trial
        )

    return [trial for trial in finished if not beaten(trial)]


def best(trials: Sequence[Trial], objectives: Sequence[Objective]) -> Trial:
    """The best trial; of several objectives, the one on the front that is closest to the best of each.

    Distances are Euclidean, after every objective is scaled to 0-1 between its best and its worst on the front.

    Raises:
        UserError: No trial could be scored.
    """
    chosen = front(trials, objectives)
    if not chosen:
        raise UserError(f"none of {len(trials)} points could be scored; the first: {trials[0].reason}")
    costs = [_costs(trial, objectives) for trial in chosen]
    columns = list(zip(*costs, strict=True))
    lows, highs = list(map(min, columns)), list(map(max, columns))

    def distance(own: Sequence[float]) -> float:
        return math.hypot(*((c - low) / ((high - low) or 1) for c, low, high in zip(own, lows, highs, strict=True)))

    return min(zip(chosen, costs, strict=True), key=lambda pair: distance(pair[1]))[0]


def _costs(trial: Trial, objectives: Sequence[Objective]) -> list[float]:
    scores = trial.scores(objectives)
    return [value if objective.minimize else -value for value, objective in zip(scores, objectives, strict=True)]


def _key(point: Point) -> str:
    return json.dumps(asdict(point), sort_keys=True)


def _read(line: Mapping[str, Any]) -> Trial:
    return Trial(**{**line, "point": Point(**line["point"])})
