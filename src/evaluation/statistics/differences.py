"""Items that two evaluations score differently, with both answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from src.evaluation.statistics.scores import Score, by_metric

Details = dict[tuple[str, str], list[dict[str, Any]]]  # (benchmark, item) -> lines of details-<benchmark>.jsonl
COLUMNS = (
    *("reference", "subject", "benchmark", "metric", "item", "reference_value", "value"),
    *("prompt", "reference_answer", "answer", "input", "expected", "reference_got", "got"),
)
STRICTEST = "pass@1+"


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
    theirs, ours = by_metric(scores[reference]), by_metric(scores[subject])
    rows = []
    for benchmark in dict.fromkeys(name for name, _ in theirs):
        metrics = [metric for name, metric in theirs if name == benchmark and (name, metric) in ours]
        for metric in [STRICTEST] if STRICTEST in metrics else metrics[:1]:
            pairs = theirs[benchmark, metric], ours[benchmark, metric]
            differ = [item for item in pairs[0] if item in pairs[1] and pairs[0][item] != pairs[1][item]]
            for item in sorted(differ, key=lambda item: -abs(pairs[0][item] - pairs[1][item])):
                left, right = pairs[0][item], pairs[1][item]
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


def _answer(answers: Sequence[dict[str, Any]] | None, passed: bool) -> dict[str, Any]:
    """Choose the first answer that shows the difference: one that passed, or one that did not."""
    return next((row for row in answers or () if row.get("passed") == passed), (answers or [{}])[0])


def _got(answer: Mapping[str, Any]) -> str:
    return str(answer.get("got") or answer.get("detail", ""))
