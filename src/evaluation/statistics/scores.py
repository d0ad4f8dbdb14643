"""Scores of single items, and their means with intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from src.evaluation.statistics.bootstrap import Interval, bootstrap_interval


@dataclass(frozen=True)
class ItemScore:
    """The score of one problem or row in one metric.

    Attributes:
        item: `task_id` of the problem or row.
        metric: As in score tables, e.g. `pass@1+`.
        value: A fraction.
    """

    item: str
    metric: str
    value: float


def by_metric(scores: Iterable[ItemScore]) -> dict[str, dict[str, float]]:
    """metric -> item -> value, metrics and items in order of appearance."""
    table: dict[str, dict[str, float]] = {}
    for score in scores:
        items = table.setdefault(score.metric, {})
        assert score.item not in items, f"two values of {score.metric} for {score.item}"
        items[score.item] = score.value
    return table


def summarize(
    scores: Sequence[ItemScore], level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> dict[str, Interval]:
    """Mean and bootstrap interval of each metric.

    Args:
        scores: One value an item and metric.
        level: Coverage of the interval.
        resamples: Bootstrap draws.
        seed: Of the draws.

    Returns:
        metric -> interval over its items.
    """
    return {
        metric: bootstrap_interval(list(items.values()), level, resamples, seed)
        for metric, items in by_metric(scores).items()
    }
