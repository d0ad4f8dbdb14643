"""Answers of a study: mixture against the chosen merge on a page beside the report, and those of all its models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from src.evaluation.preflight.finding import Finding
from src.evaluation.statistics.differences import answers
from src.reporting.problems import tally_sentence
from src.stages.compare.evaluations import ITEMS, Evaluation
from src.stages.compare.run import write_difference_files
from src.stages.study.execute import ScoredModel

LIMIT = 500  # problems on the page, per benchmark


def write_problem_page(
    scored: Sequence[ScoredModel], mixture: str, merge: str, place: Path, findings: Sequence[Finding]
) -> tuple[str, ...]:
    """Write `differences.html` and `differences.csv` of two models of a study.

    Args:
        scored: Models on test data; of several runs of a model, the first one is shown.
        mixture: Name of the mixture.
        merge: Name of the merge that it is compared with.
        place: Directory of the report.
        findings: Confounds, shown at the top of the page.

    Returns:
        How the two share the problems, one sentence per benchmark.
    """
    found = [
        next(item for item in scored if item.trained.model.name == name)
        for name in (mixture, merge)
    ]  # fmt: skip
    evaluations = [Evaluation(item.trained.model.label, item.directory / ITEMS) for item in found]
    tallied = write_difference_files(evaluations, LIMIT, place, findings)
    return tuple(tally_sentence(evaluations[0].name, tally) for tally in tallied)


def all_answers(scored: Sequence[ScoredModel]) -> tuple[dict[str, Any], ...]:
    """Rows of `answers` of every model, named as in the report; of several runs of a model, the first one."""
    first: dict[str, Evaluation] = {}
    for item in scored:
        name = item.trained.model.name
        first.setdefault(name, Evaluation(name, item.directory / ITEMS))
    return tuple(row for name, found in first.items() for row in answers(name, found.scores, found.details))
