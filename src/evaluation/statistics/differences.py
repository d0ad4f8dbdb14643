"""Items of evaluations with their answers: those that two evaluations score differently, or all of one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from src.evaluation.statistics.scores import LOSSES, Score, by_metric

Details = dict[tuple[str, str], list[dict[str, Any]]]  # (benchmark, item) -> lines of details-<benchmark>.jsonl
Items = Mapping[str, float]  # item -> value
COLUMNS = (
    *("reference", "subject", "benchmark", "metric", "item", "reference_value", "value"),
    *("prompt", "reference_answer", "answer", "input", "expected", "reference_got", "got"),
)
ANSWER_COLUMNS = (
    *("subject", "benchmark", "metric", "item", "value"),
    *("prompt", "answer", "input", "expected", "got"),
)
STRICTEST = "pass@1+"


@dataclass(frozen=True)
class Tally:
    """Numbers of items of one benchmark on which each of two evaluations is better.

    Attributes:
        subject: The evaluation that is compared with the reference.
        benchmark: Benchmark of the items.
        metric: Metric that decides.
        items: Number of items that both scored.
        better: Number of those on which the subject is better.
        worse: Number of those on which the reference is better.
    """

    subject: str
    benchmark: str
    metric: str
    items: int
    better: int
    worse: int


def tallies(reference: str, subject: str, scores: Mapping[str, Sequence[Score]]) -> list[Tally]:
    """Count the items that `differences` lists, benchmark by benchmark, and those that it leaves out."""
    found = []
    for benchmark, metric, theirs, ours in _compared(scores[reference], scores[subject]):
        sign = -1 if metric in LOSSES else 1
        gains = [sign * (ours[item] - theirs[item]) for item in theirs if item in ours]
        better, worse = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
        found.append(Tally(subject, benchmark, metric, len(gains), better, worse))
    return found


def differences(
    reference: str, subject: str, scores: Mapping[str, Sequence[Score]], details: Mapping[str, Details]
) -> list[dict[str, Any]]:
    """List the items whose scores differ, the largest difference first.

    Args:
        reference: Name of one evaluation.
        subject: Name of the other.
        scores: Item scores by evaluation. `pass@1+` is compared, or the first metric of benchmarks without it.
        details: Recorded answers by evaluation; columns of what is not recorded stay empty.

    Returns:
        Rows with `COLUMNS`, benchmark by benchmark; `input` and `expected` are those of the worse program.
    """
    rows = []
    for benchmark, metric, theirs, ours in _compared(scores[reference], scores[subject]):
        differ = [item for item in theirs if item in ours and theirs[item] != ours[item]]
        for item in sorted(differ, key=lambda item: -abs(theirs[item] - ours[item])):
            left, right = theirs[item], ours[item]
            key = benchmark, item
            here = _answer(details[reference].get(key), left > right)
            there = _answer(details[subject].get(key), right > left)
            worse, better = (here, there) if left < right else (there, here)
            row = {
                "reference": reference, "subject": subject, "benchmark": benchmark, "metric": metric, "item": item,
                "reference_value": left, "value": right, "prompt": here.get("prompt", there.get("prompt", "")),
                "reference_answer": here.get("answer", ""), "answer": there.get("answer", ""),
                "input": worse.get("input", ""), "expected": worse.get("expected", better.get("expected", "")),
                "reference_got": _got(here), "got": _got(there),
            }  # fmt: skip
            rows.append(row)
    return rows


def answers(subject: str, scores: Iterable[Score], details: Details) -> list[dict[str, Any]]:
    """List all items of one evaluation, the worst scores first.

    Args:
        subject: Name of the evaluation.
        scores: Its item scores; the same metric decides as in `differences`.
        details: Its recorded answers. Of several answers to an item, one that failed is shown, if there is one.

    Returns:
        Rows with `ANSWER_COLUMNS`, benchmark by benchmark.
    """
    table = by_metric(scores)
    rows = []
    for benchmark, metric in _deciding(list(table)):
        items = table[benchmark, metric]
        for item in sorted(items, key=lambda item: items[item], reverse=metric in LOSSES):
            found = _answer(details.get((benchmark, item)), items[item] == 1)
            row = {
                "subject": subject, "benchmark": benchmark, "metric": metric, "item": item, "value": items[item],
                "prompt": found.get("prompt", ""), "answer": found.get("answer", ""),
                "input": found.get("input", ""), "expected": found.get("expected", ""), "got": _got(found),
            }  # fmt: skip
            rows.append(row)
    return rows


def _compared(reference: Iterable[Score], subject: Iterable[Score]) -> Iterator[tuple[str, str, Items, Items]]:
    """Yield benchmark, deciding metric, and the items of both evaluations, for metrics that both have."""
    theirs, ours = by_metric(reference), by_metric(subject)
    for benchmark, metric in _deciding([key for key in theirs if key in ours]):
        yield benchmark, metric, theirs[benchmark, metric], ours[benchmark, metric]


def _deciding(metrics: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield every benchmark with the strictest of its metrics, or with the first one."""
    for benchmark in dict.fromkeys(name for name, _ in metrics):
        named = [metric for name, metric in metrics if name == benchmark]
        yield benchmark, STRICTEST if STRICTEST in named else named[0]


def _answer(found: Sequence[dict[str, Any]] | None, passed: bool) -> dict[str, Any]:
    """Choose the first answer that shows the score: one that passed, or one that did not."""
    return next((row for row in found or () if row.get("passed") == passed), (found or [{}])[0])


def _got(answer: Mapping[str, Any]) -> str:
    return str(answer.get("got") or answer.get("detail", ""))
