"""Cells of published tables that do not follow from the other cells of the same publication."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

from src.reporting.format import average_change
from src.reporting.names import benchmark_label, metric_label
from src.reporting.published.tables import SPECIALISTS, Published, PublishedRow

UNIT = 0.0100001  # of a percentage that is printed with two decimals: rounded, or cut off
MOST_DIFFERENT = 1  # cells in which two rows may differ that hold the same merge
Range = tuple[float, float]
KINDS = {  # kind -> what it counts
    "average": "averages that do not follow from the scores",
    "change": "changes that do not follow from the scores",
    "sign": "changes with the wrong sign",
    "equal rows": "rows whose coefficients differ and whose scores do not",
    "log": "rows that differ from the authors' logs",
    "impossible": "shares that no number of solved problems gives",
}


@dataclass(frozen=True)
class Flag:
    """One thing that does not hold together.

    Attributes:
        table: Where.
        model: Of which model.
        row: Label of the row.
        kind: A key of `KINDS`.
        words: What was printed and what follows from the cells.
    """

    table: str
    model: str
    row: str
    kind: str
    words: str


def flags(published: Published) -> list[Flag]:
    """All checks of a publication, table by table."""
    found = []
    for rows in published.tables.values():
        reference = next((row for row in rows if row.method == SPECIALISTS), None)
        if reference is not None:
            for row in rows:
                found += [*_changes(row, reference), *_average(row, reference)]
        found += [*_equal_rows(rows), *(flag for row in rows for flag in _impossible(row, published.problems))]
    found += _not_in_logs(published)
    return found


def grouped(found: Sequence[Flag]) -> tuple[tuple[tuple[str, str], tuple[Flag, ...]], ...]:
    """Flags by (table and model, kind in words)."""
    groups: dict[tuple[str, str], list[Flag]] = {}
    for flag in found:
        groups.setdefault((f"{flag.table}, {flag.model}", KINDS[flag.kind]), []).append(flag)
    return tuple((key, tuple(group)) for key, group in groups.items())


def change_range(row: PublishedRow, reference: PublishedRow, metric: str) -> Range:
    """The smallest and largest change in percent that a printed score and its reference allow."""
    low, high = _bounds(row.scores[metric])
    down, up = _bounds(reference.scores[metric])
    return 100 * (low / up - 1), 100 * (high / down - 1)


def recomputed_average(row: PublishedRow, reference: PublishedRow) -> float:
    """Mean change in percent over all metrics, from the printed scores."""
    metrics = [metric for metric in row.scores if metric in reference.scores]
    return fmean(100 * (row.scores[metric][0] / reference.scores[metric][0] - 1) for metric in metrics)


def first_reference(published: Published, model: str) -> PublishedRow | None:
    """The specialists' row of the first table of a model."""
    return next((row for row in published.rows if row.model == model and row.method == SPECIALISTS), None)


def nearest_log(row: PublishedRow, published: Published) -> PublishedRow | None:
    """The logged merge of the same model and method with the fewest other scores, best at the same coefficients."""
    logged = [log for log in published.logs if log.model == row.model and log.method == row.method]
    order = [(len(_differing(row, log, tolerance=0.1)), log.weights != row.weights) for log in logged]
    return logged[order.index(min(order))] if logged else None


def _bounds(score: tuple[float, int]) -> Range:
    value, decimals = score
    half = 0.5 * 10**-decimals + 1e-9
    return value - half, value + half


def _changes(row: PublishedRow, reference: PublishedRow) -> Iterator[Flag]:
    for metric, printed in row.changes.items():
        if metric not in row.scores or metric not in reference.scores:
            continue
        low, high = change_range(row, reference, metric)
        if low - UNIT <= printed <= high + UNIT:
            continue
        is_sign = low - UNIT <= -printed <= high + UNIT
        follows = 100 * (row.scores[metric][0] / reference.scores[metric][0] - 1)
        words = f"{_name(metric)}: printed {average_change(printed)}, from the scores {average_change(follows)}"
        yield Flag(row.table, row.model, row.label, "sign" if is_sign else "change", words)


def _average(row: PublishedRow, reference: PublishedRow) -> Iterator[Flag]:
    metrics = [metric for metric in row.scores if metric in reference.scores]
    if row.average is None or not metrics:
        return
    low, high = (
        fmean(ends) for ends in zip(*(change_range(row, reference, metric) for metric in metrics), strict=True)
    )
    if not low - UNIT <= row.average <= high + UNIT:
        follows = average_change(recomputed_average(row, reference))
        words = f"average: printed {average_change(row.average)}, from the scores {follows}"
        yield Flag(row.table, row.model, row.label, "average", words)


def _equal_rows(rows: Sequence[PublishedRow]) -> Iterator[Flag]:
    """Two merges with different coefficients and the same scores: one of them is not what its label says."""
    for first, second in combinations(rows, 2):
        if first.method != second.method or first.weights == second.weights:
            continue
        different = _differing(first, second, tolerance=1.5)
        if len(first.scores) > 3 and len(different) <= MOST_DIFFERENT:
            words = f"all but {len(different)} of {len(first.scores)} scores" if different else "all scores"
            yield Flag(
                first.table, first.model, first.label, "equal rows",
                f"{words} equal those of {second.label}, to a unit of the last digit",
            )  # fmt: skip


def _differing(first: PublishedRow, second: PublishedRow, tolerance: float) -> list[str]:
    """Metrics that differ by more than `tolerance` units of the last digit."""
    return [
        metric
        for metric, (value, decimals) in first.scores.items()
        if metric in second.scores and abs(value - second.scores[metric][0]) > tolerance * 10**-decimals
    ]


def _impossible(row: PublishedRow, problems: Mapping[str, int]) -> Iterator[Flag]:
    """A share of solved problems must be a whole number of them."""
    for metric, score in row.scores.items():
        benchmark, _, name = metric.partition(" ")
        count = problems.get(benchmark)
        if count and name.startswith("pass@"):
            low, high = _bounds(score)
            if not any(low <= solved / count <= high for solved in range(int(low * count), int(high * count) + 2)):
                words = f"{_name(metric)}: {score[0]:.{score[1]}f} is no whole number of {count} problems"
                yield Flag(row.table, row.model, row.label, "impossible", words)


def _not_in_logs(published: Published) -> Iterator[Flag]:
    """Merges of the tables whose scores are in no log of the same model and method, or there at other coefficients."""
    for row in published.rows:
        nearest = nearest_log(row, published)
        if nearest is None:
            continue
        different = _differing(row, nearest, tolerance=0.1)
        if different:
            words = f"in no log; nearest is {nearest.label} of {nearest.table}, which differs in "
            words += ", ".join(f"{_name(m)} {row.scores[m][0]:g} (log: {nearest.scores[m][0]:g})" for m in different)
            reference = first_reference(published, row.model)
            if reference is not None and row.average is not None:
                follows = recomputed_average(nearest, reference)
                words += f". With the logged scores the average is {average_change(follows)}"
        elif row.weights is not None and nearest.weights != row.weights:
            words = f"the log with these scores, {nearest.table}, says {nearest.label}"
        else:
            continue
        yield Flag(row.table, row.model, row.label, "log", words)


def _name(metric: str) -> str:
    benchmark, _, name = metric.partition(" ")
    return f"{benchmark_label(benchmark)} {metric_label(name)}"
