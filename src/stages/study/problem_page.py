"""Mixture against the chosen merge, problem by problem: a page beside the report, and its sentences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from src.evaluation.preflight.finding import Finding
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
