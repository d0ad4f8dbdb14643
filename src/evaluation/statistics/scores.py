"""A score, from the benchmark that computes it to the report that prints its mean."""

from __future__ import annotations

import csv
import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from sys import intern

from src.evaluation.statistics.bootstrap import Interval
from src.evaluation.statistics.clusters import cluster_interval
from src.utils.errors import UserError
from src.utils.files import atomic_open

Metric = tuple[str, str]  # (benchmark, metric)
COLUMNS = ("subject", "benchmark", "metric", "item", "value")
CLUSTER = "cluster"  # a further column; files without it have items that stand alone
NLL = "nll"
LOSSES = frozenset({NLL})  # metrics in nats, lower is better; all others are fractions, higher is better


@dataclass(frozen=True, slots=True)
class Score:
    """The score of one benchmark item on one metric.

    Attributes:
        benchmark: Name of the benchmark.
        item: `task_id` of the problem or row.
        metric: Name of the metric, e.g. `pass@1+`.
        value: A fraction, or for a metric of `LOSSES` nats.
        cluster: Items of one cluster, such as functions of one repository, resemble each other; empty: the item stands
            alone.
    """

    benchmark: str
    item: str
    metric: str
    value: float
    cluster: str = ""


def by_metric(scores: Iterable[Score]) -> dict[Metric, dict[str, float]]:
    """(benchmark, metric) -> item -> value, each in order of appearance."""
    table: dict[Metric, dict[str, float]] = {}
    for score in scores:
        items = table.setdefault((score.benchmark, score.metric), {})
        assert score.item not in items, f"two values of {score.metric} for {score.item} of {score.benchmark}"
        items[score.item] = score.value
    return table


class Clusters:
    """Clusters of items, as the scores of any model on them name them.

    Args:
        scores: Scores of all models that are compared.

    Raises:
        UserError: An item is in two clusters.
    """

    def __init__(self, scores: Iterable[Score]) -> None:
        self._known: dict[tuple[str, str], str] = {}
        for score in scores:
            if score.cluster and self._known.setdefault((score.benchmark, score.item), score.cluster) != score.cluster:
                raise UserError(
                    f"{score.benchmark}: item {score.item} is in cluster {score.cluster} and in "
                    f"{self._known[score.benchmark, score.item]}; score all models with the same benchmark.cluster"
                )

    def of(self, benchmark: str, items: Iterable[str]) -> list[Hashable]:
        """The cluster of each item; an item that stands alone is one by itself."""
        return [self._known.get((benchmark, item)) or (item,) for item in items]


def summarize(
    scores: Sequence[Score], level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> dict[Metric, Interval]:
    """Mean and interval of each metric (see `cluster_interval`).

    Args:
        scores: One value per item and metric.
        level: Coverage of the interval.
        resamples: Bootstrap draws.
        seed: Seed of the draws.

    Returns:
        (benchmark, metric) -> interval over its items.
    """
    clusters = Clusters(scores)
    return {
        metric: cluster_interval(list(items.values()), clusters.of(metric[0], items), level, resamples, seed)
        for metric, items in by_metric(scores).items()
    }


def write_scores(scores: Iterable[Score], subject: str, path: Path) -> None:
    """Write item scores as the table `items.csv`, one row per score.

    Args:
        scores: Scores of one model.
        subject: Name of the model, the first column.
        path: File to write.
    """
    with atomic_open(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow((*COLUMNS, CLUSTER))
        writer.writerows((subject, s.benchmark, s.metric, s.item, s.value, s.cluster) for s in scores)


def read_scores(path: Path) -> list[Score]:
    """Read the item scores that `write_scores` wrote.

    Raises:
        UserError: The file is missing or has other columns.
    """
    if not path.is_file():
        raise UserError(f"no such file: {path}; expected the items.csv of an evaluation")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            found = rows.fieldnames or []
            if not set(COLUMNS[1:]) <= set(found):
                raise UserError(f"{path}: expected columns {', '.join(COLUMNS[1:])}, got {list(found)}")
            scores = [_score(row) for row in rows]
    except UserError:
        raise
    except (ValueError, TypeError, csv.Error) as error:
        raise UserError(f"{path} is damaged: {error}") from error
    if len({(score.benchmark, score.metric, score.item) for score in scores}) < len(scores):
        raise UserError(f"{path} is damaged: an item has two values of one metric")
    return scores


def _score(row: dict[str, str]) -> Score:
    value = float(row["value"])
    if not math.isfinite(value):
        raise ValueError(f"{row['metric']} of {row['item']} is {value}")
    # A study reads millions of rows that name the same few thousand items: keep one string per item.
    return Score(
        intern(row["benchmark"]), intern(row["item"]), intern(row["metric"]), value, intern(row.get(CLUSTER) or "")
    )
