"""The methods of conf/merge: every YAML there is the keys of one of these."""

from __future__ import annotations

from src.merging.keys import method
from src.merging.rule import Rule
from src.merging.sparsify import Sparsity
from src.merging.task_vectors import TaskVectors, WeightedMean


@method("2203.05482")
def linear(normalize: bool) -> Rule:
    """Weighted mean of the specialists' weights; the base does not enter."""
    return WeightedMean(normalize)


@method("2212.04089")
def task_arithmetic(normalize: bool, lambda_: float) -> Rule:
    """Weighted sum of the task vectors."""
    return TaskVectors(Sparsity(), consensus=False, normalize=normalize, lambda_=lambda_)


@method("2306.01708")
def ties(density: float, normalize: bool, rescale: str, lambda_: float) -> Rule:
    """Trim to the largest, elect signs, merge what agrees."""
    return TaskVectors(Sparsity("magnitude", density, rescale=rescale), True, normalize, lambda_)


@method("2311.03099")
def dare(density: float, normalize: bool, rescale: str, lambda_: float, seed: int) -> Rule:
    """Drop at random, rescale, sum (mergekit's `dare_linear`)."""
    return TaskVectors(Sparsity("bernoulli", density, rescale=rescale, seed=seed), False, normalize, lambda_)


@method("2311.03099")
def dare_ties(density: float, normalize: bool, rescale: str, lambda_: float, seed: int) -> Rule:
    """Drop at random, rescale, elect signs."""
    return TaskVectors(Sparsity("bernoulli", density, rescale=rescale, seed=seed), True, normalize, lambda_)


@method("2406.11617")
def della(density: float, epsilon: float, normalize: bool, rescale: str, lambda_: float, seed: int) -> Rule:
    """Drop at random, the smaller the likelier; elect signs."""
    return TaskVectors(Sparsity("magprune", density, epsilon, rescale=rescale, seed=seed), True, normalize, lambda_)


@method("2406.11617")
def della_linear(density: float, epsilon: float, normalize: bool, rescale: str, lambda_: float, seed: int) -> Rule:
    """Drop at random, the smaller the likelier; sum."""
    return TaskVectors(Sparsity("magprune", density, epsilon, rescale=rescale, seed=seed), False, normalize, lambda_)


@method("2312.06795")
def breadcrumbs(density: float, gamma: float, normalize: bool, rescale: str, lambda_: float) -> Rule:
    """Drop the smallest and the very largest; sum."""
    return TaskVectors(Sparsity("outliers", density, gamma=gamma, rescale=rescale), False, normalize, lambda_)


@method("2312.06795")
def breadcrumbs_ties(density: float, gamma: float, normalize: bool, rescale: str, lambda_: float) -> Rule:
    """Drop the smallest and the very largest; elect signs."""
    return TaskVectors(Sparsity("outliers", density, gamma=gamma, rescale=rescale), True, normalize, lambda_)
