"""Optuna's samplers: the nodes `sampler` of conf/search."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Annotated, Protocol

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, RandomSampler, TPESampler
from pydantic import Field

from src.search.space import Space
from src.utils.errors import UserError
from src.utils.validation import checked_dataclass

optuna.logging.set_verbosity(optuna.logging.ERROR)  # the stage reports progress
Count = Annotated[int, Field(ge=1)]
SEEDS = 2**32 - 1  # numpy's


class Sampler(Protocol):
    """Chooses the next point from the scores of the points so far."""

    name: str

    def build(self, space: Space, objectives: Sequence[str], budget: int, seed: int) -> BaseSampler:
        """Build the Optuna sampler.

        Args:
            space: What it chooses from.
            objectives: Names.
            budget: Number of points of the whole search.
            seed: Of its draws.

        Raises:
            UserError: It cannot search this space.
        """
        ...


@checked_dataclass("search.sampler")
class Random:
    """Points drawn at random: what the other samplers have to beat."""

    name = "random"

    def build(self, space: Space, objectives: Sequence[str], budget: int, seed: int) -> BaseSampler:
        """See `Sampler.build`."""
        return RandomSampler(seed=seed % SEEDS)


@checked_dataclass("search.sampler")
class Tpe:
    """Tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011): any space, one or more objectives.

    Args:
        startup: Random points before the first model; None: a third of the budget, at most 10; of several methods half
            of the budget, at most 5 per method, because a model of few points stays with the method that led early.
    """

    startup: Count | None = None
    name = "tpe"

    def build(self, space: Space, objectives: Sequence[str], budget: int, seed: int) -> BaseSampler:
        """See `Sampler.build`."""
        joint = len(objectives) == 1
        with warnings.catch_warnings():  # `group`, the model of a space with branches, is marked experimental since 2.8
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return TPESampler(
                seed=seed % SEEDS,
                n_startup_trials=startup_points(self.startup, budget, len(space.methods)),
                multivariate=joint,
                group=joint and len(space.methods) > 1,
            )


@checked_dataclass("search.sampler")
class GaussianProcess:
    """Expected improvement under a Gaussian process: the best use of few points where scores are smooth.

    Args:
        startup: Random points before the first model; None: a third of the budget, at most 10.
    """

    startup: Count | None = None
    name = "gp"

    def build(self, space: Space, objectives: Sequence[str], budget: int, seed: int) -> BaseSampler:
        """See `Sampler.build`."""
        if len(space.methods) > 1:
            raise UserError("search=gp needs one method, got several in search.space.merge; use search=tpe")
        return GPSampler(seed=seed % SEEDS, n_startup_trials=startup_points(self.startup, budget))


@checked_dataclass("search.sampler")
class CmaEs:
    """Covariance matrix adaptation (Hansen, arXiv 1604.00772): two or more numbers, one objective."""

    name = "cmaes"

    def build(self, space: Space, objectives: Sequence[str], budget: int, seed: int) -> BaseSampler:
        """See `Sampler.build`."""
        choices = [key for key, values in space.ranges.items() if isinstance(values, CategoricalDistribution)]
        choices = ["merge", *choices] if len(space.methods) > 1 else choices
        if choices:
            raise UserError(
                f"search=cmaes takes ranges of numbers, search.space.{choices[0]} has choices; use search=tpe"
            )
        if len(space.ranges) < 2:
            raise UserError(
                f"search=cmaes needs two or more keys, search.space has {', '.join(space.ranges)}; use search=tpe"
            )
        if len(objectives) > 1:
            raise UserError(f"search=cmaes takes one search.objective, got {', '.join(objectives)}; use search=tpe")
        return CmaEsSampler(seed=seed % SEEDS)


def startup_points(wanted: int | None, budget: int, methods: int = 1) -> int:
    """Number of random points before a model is fitted."""
    if wanted is not None:
        return wanted
    return max(1, min(10, budget // 3) if methods == 1 else min(5 * methods, budget // 2))
