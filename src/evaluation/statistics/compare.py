"""Paired tests of checkpoints against one.

Usage: `python -m src.evaluation.statistics.compare RUN/items.csv OTHER/items.csv ...`.

The first file is the reference; each further one is compared with it metric by metric, and p-values are corrected over
the files (a grid of merges, say) within each metric.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from src.evaluation.statistics.bootstrap import Difference, holm, mcnemar, paired_bootstrap
from src.evaluation.statistics.scores import Score, by_metric, read_scores
from src.utils.errors import UserError


@dataclass(frozen=True)
class Test:
    """One subject against the reference in one metric.

    Attributes:
        subject: Compared with the reference.
        benchmark: Benchmark that both were scored on.
        metric: Metric.
        difference: Subject minus reference, with bootstrap interval and uncorrected p.
        mcnemar: Exact McNemar p where all values are 0 or 1 (pass@1), else None.
        p_corrected: Holm-corrected over the subjects: of McNemar's p where there is one, else of the bootstrap's.
    """

    __test__ = False  # no test case for pytest

    subject: str
    benchmark: str
    metric: str
    difference: Difference
    mcnemar: float | None
    p_corrected: float

    @property
    def verdict(self) -> str:
        """`better`, `worse` or `tie`: the interval excludes zero and the corrected p is below 5 %, or not."""
        if self.difference.tie or self.p_corrected > 0.05:
            return "tie"
        return "better" if self.difference.difference > 0 else "worse"


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
        UserError: A subject was scored on other items or metrics.
    """
    wanted, tables = by_metric(reference), {subject: by_metric(scores) for subject, scores in others.items()}
    for subject, table in tables.items():
        if {metric: set(items) for metric, items in table.items()} != {
            key: set(items) for key, items in wanted.items()
        }:
            raise UserError(f"{subject} was scored on other items or metrics than the reference; score both alike")
    tests = []
    for metric, items in wanted.items():
        base = list(items.values())
        columns = {subject: [table[metric][item] for item in items] for subject, table in tables.items()}
        differences = {
            subject: paired_bootstrap(values, base, resamples=resamples, seed=seed)
            for subject, values in columns.items()
        }
        exact = {subject: _mcnemar(values, base) for subject, values in columns.items()}
        p_values = {subject: exact[subject] for subject in columns}
        corrected = holm({name: differences[name].p if p is None else p for name, p in p_values.items()})
        tests += [Test(name, *metric, differences[name], exact[name], corrected[name]) for name in columns]
    return tests


def _mcnemar(first: Sequence[float], second: Sequence[float]) -> float | None:
    if not {*first, *second} <= {0.0, 1.0}:
        return None
    return mcnemar([value == 1 for value in first], [value == 1 for value in second])


def main(paths: Sequence[str]) -> None:
    """The command."""
    if len(paths) < 2:
        raise UserError("expected two or more items.csv files, the reference first")
    others = {path: read_scores(Path(path)) for path in paths[1:]}
    print("subject,benchmark,metric,n,difference,low,high,p_bootstrap,p_mcnemar,p_corrected,verdict")
    for test in compare(read_scores(Path(paths[0])), others):
        gap = test.difference
        exact = "" if test.mcnemar is None else f"{test.mcnemar:.4g}"
        numbers = f"{gap.difference:.4f},{gap.low:.4f},{gap.high:.4f},{gap.p:.4g},{exact},{test.p_corrected:.4g}"
        print(f"{test.subject},{test.benchmark},{test.metric},{gap.n},{numbers},{test.verdict}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(f"error: {error}")
