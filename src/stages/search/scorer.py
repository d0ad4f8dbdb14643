"""Scores of points: merge each into one model in memory and measure it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from src.evaluation.generators.hf import HFGenerator
from src.merging.engine.lazy import LazyMerge
from src.merging.recipe import Recipe
from src.merging.tensors.parent import Parent, open_parents
from src.search.loop import Measured
from src.search.space import Point
from src.stages.merge.jobs import Parents
from src.stages.merge.lazy_points import files_around
from src.stages.search.objectives import Objectives
from src.stages.search.points import MergePoints
from src.stages.search.scoring import Generator, Measure
from src.utils.errors import UserError
from src.utils.files import sha256_json


class PointScorer:
    """Scores points; parents are opened and the model is built at the first one.

    Args:
        parents: Their directories.
        points: Recipes of the points.
        data: What is measured.
        scratch: Directory for config and tokenizer of the merges, and for answers.
        key: Hash of the parents.
    """

    def __init__(self, parents: Parents, points: MergePoints, data: Objectives, scratch: Path, key: str) -> None:
        self.parents, self.points, self.data, self.key = parents, points, data, key
        self.scratch, self.files = scratch, scratch / "files"

    def __call__(self, points: Sequence[Point]) -> Iterator[Measured | UserError]:
        """Per point everything measured, by name, or the reason why it cannot be merged or scored.

        Several points are merged in one pass over the parents; their weights are in memory together.

        Raises:
            UserError: The parents do not match.
        """
        recipes = [self._recipe(point) for point in points]
        merges = [self._lazy(recipe) for recipe in recipes if isinstance(recipe, Recipe)]
        measures = self._measures if merges else []  # before a point is loaded: it may load the specialists
        loaded = self._loaded(merges)
        for recipe in recipes:
            error = recipe if isinstance(recipe, UserError) else next(loaded)
            yield self._measured(measures) if error is None else error

    def _recipe(self, point: Point) -> Recipe | UserError:
        try:
            recipe = self.points.recipe(point)
        except UserError as error:
            return error
        files_around(self.parents, recipe, self.files)
        return recipe

    def _loaded(self, merges: Sequence[LazyMerge]) -> Iterator[UserError | None]:
        """Load one point after another; yields why one cannot be merged."""
        if len(merges) > 1:
            assert isinstance(self._generator, HFGenerator)
            yield from self._generator.load_lazy_merges(merges)
            return
        try:
            self._generator.load_lazy_merge(merges[0])
        except UserError as error:
            yield error
        else:
            yield None

    def _measured(self, measures: Sequence[Measure]) -> Measured | UserError:
        try:
            return {name: value for measure in measures for name, value in measure(self._generator).items()}
        except UserError as error:
            return error

    @cached_property
    def _generator(self) -> Generator:
        return self.data.generator()

    @cached_property
    def _measures(self) -> list[Measure]:
        losses, scores = self.data.losses(self.files), self.data.scores(self.scratch)
        if scores is not None and scores.averaged:
            for task in self.points.names:
                self._generator.load_lazy_merge(self._lazy(self.points.specialist(task)))
                scores.specialists[task] = scores.scores(self._generator)
        return [measure for measure in (losses, scores) if measure is not None]

    @cached_property
    def _opened(self) -> tuple[Parent, Mapping[str, Parent]]:
        return open_parents(self.parents.base, dict(self.parents.specialists), self.parents.allow_pickle)

    def _lazy(self, recipe: Recipe) -> LazyMerge:
        named = sha256_json({"merge of": self.key, "recipe": recipe.describe(self.points.names)})
        specialists = dict(self.parents.specialists)
        return LazyMerge(
            self.files, self.parents.base, specialists, recipe, named, self.parents.allow_pickle, self._opened
        )
