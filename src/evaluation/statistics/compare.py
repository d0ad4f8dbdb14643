"""Paired tests of models against a reference model, per metric.

Within each metric, p-values are corrected over the models (the points of a merge grid, say).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from src.evaluation.statistics.bootstrap import Difference, holm, mcnemar
from src.evaluation.statistics.clusters import cluster_difference
from src.evaluation.statistics.scores import LOSSES, Clusters, Score, by_metric
from src.utils.errors import UserError


@dataclass(frozen=True)
class Test:
    """One subject against the reference in one metric.

    Attributes:
        subject: Model compared with the reference.
        benchmark: Benchmark that both were scored on.
        metric: Metric.
        difference: Subject minus reference, with bootstrap interval and uncorrected p.
        mcnemar: Exact McNemar p if all values are 0 or 1 (pass@1) and items are independent, else None.
        p_corrected: Holm-corrected over the subjects: McNemar's p if there is one, else the bootstrap's.
        clusters: Number of clusters that the bootstrap draws; `difference.n` if every item stands alone.
    """

    __test__ = False  # tells pytest that this is not a test case

    subject: str
    benchmark: str
    metric: str
    difference: Difference
    mcnemar: float | None
    p_corrected: float
    clusters: int

    @property
    def verdict(self) -> str:
        """`better`, `worse` or `tie`: the interval excludes zero and the corrected p is below 5%, or not."""
        if self.difference.tie or self.p_corrected > 0.05:
            return "tie"
        return "better" if (self.difference.difference > 0) != (self.metric in LOSSES) else "worse"

    def row(self) -> dict[str, Any]:
        """Return its row of `comparison.csv`."""
        gap = self.difference
        tested = {"subject": self.subject, "benchmark": self.benchmark, "metric": self.metric, "n": gap.n}
        tested["clusters"] = self.clusters
        interval = {"difference": gap.difference, "low": gap.low, "high": gap.high}
        p_values = {"p_bootstrap": gap.p, "p_mcnemar": self.mcnemar, "p_corrected": self.p_corrected}
        return {**tested, **interval, **p_values, "verdict": self.verdict}


def compare(
    reference: Sequence[Score], others: Mapping[str, Sequence[Score]], resamples: int = 10_000, seed: int = 0
) -> list[Test]:
    """Compare subjects with a reference on the same items.

    Args:
        reference: Item scores.
        others: subject -> item scores of the same items.
        resamples: Bootstrap draws.
        seed: Of the draws.

    Returns:
        One test per metric and subject.

    Raises:
        UserError: A subject was scored on different items or metrics, or with other clusters of items.
    """
    wanted, tables = by_metric(reference), {subject: by_metric(scores) for subject, scores in others.items()}
    for subject, table in tables.items():
        if {metric: set(items) for metric, items in table.items()} != {
            key: set(items) for key, items in wanted.items()
        }:
            raise UserError(f"{subject} was scored on different items or metrics than the reference; score both alike")
    known, tests = Clusters(score for scores in (reference, *others.values()) for score in scores), []
    for metric, items in wanted.items():
        base, clusters = list(items.values()), known.of(metric[0], items)
        alone = len(set(clusters)) == len(clusters)
        columns = {subject: [table[metric][item] for item in items] for subject, table in tables.items()}
        differences = {
            subject: cluster_difference(values, base, clusters, resamples=resamples, seed=seed)
            for subject, values in columns.items()
        }
        exact = {subject: _mcnemar(values, base) if alone else None for subject, values in columns.items()}
        p_values = {subject: exact[subject] for subject in columns}
        corrected = holm({name: differences[name].p if p is None else p for name, p in p_values.items()})
        tests += [
            Test(name, *metric, differences[name], exact[name], corrected[name], len(set(clusters))) for name in columns
        ]
    return tests


def _mcnemar(first: Sequence[float], second: Sequence[float]) -> float | None:
    if not {*first, *second} <= {0.0, 1.0}:
        return None
    return mcnemar([value == 1 for value in first], [value == 1 for value in second])
