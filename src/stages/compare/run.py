"""`compare.py`: paired tests of evaluations against a reference, or every answer of one evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from src.config.checks import check_compare
from src.evaluation.preflight.finding import Finding
from src.evaluation.statistics.compare import compare as compare_scores
from src.evaluation.statistics.differences import ANSWER_COLUMNS, COLUMNS, Tally, answers, differences, tallies
from src.reporting.console import print_comparison, print_differences
from src.reporting.problems import write_answers, write_differences
from src.runs.finished import open_finished
from src.runs.record import Run, open_run
from src.stages.compare.evaluations import Evaluation, is_checkpoint, open_evaluations
from src.stages.compare.preflight import check_evaluations, compare_checkpoints
from src.stages.job import Job
from src.stages.trackers import tracked

COMPARISON, DIFFERENCES, ANSWERS = "comparison.csv", "differences.csv", "answers.csv"
PAGE = "differences.html"


@tracked
def compare(job: Job) -> Path:
    """Write what tells evaluations apart, or the answers of a single one.

    Two or more: `comparison.csv` (one row per run and metric), `differences.csv` and `differences.html` (one per run
    and differing item). One: `answers.csv` and `answers.html` (one per item).

    Returns:
        The run directory.
    """
    cfg = job.cfg
    check_compare(cfg)
    places = [str(cfg.reference), *map(str, cfg.runs)]
    if any(is_checkpoint(place) for place in places):
        return compare_checkpoints(job, places)
    found = open_evaluations(places)
    findings = check_evaluations(found, cfg.preflight)
    directory = job.directory(_label(found)[:200])
    identity = {
        "order": [evaluation.name for evaluation in found],
        "resamples": cfg.resamples, "seed": cfg.seed, "page_limit": cfg.page_limit,
    }  # fmt: skip
    inputs = {name: value for evaluation in found for name, value in evaluation.hashes().items()}
    with open_run(directory, stage="compare", config=identity, inputs=inputs, argv=job.command) as run:
        if run.finished:
            return directory
        if len(found) == 1:
            _list_answers(found[0], cfg.page_limit, run, findings)
        else:
            write_difference_files(found, cfg.page_limit, run.work, findings)
            _test(found, cfg.resamples, cfg.seed, run)
        run.results["preflight"] = [finding.row() for finding in findings]
    return directory


def show(directory: Path, first: int) -> None:
    """Print the results of a finished comparison with the `first` differing items of each run."""
    run = open_finished(directory)
    assert run is not None
    if "checkpoints" in run.results:
        print("no scores to compare yet: python evaluate.py checkpoint=DIR, then compare.py with the runs")
        return
    if "comparison" not in run.results:
        print(f"{run.results['answers']} answers: {directory / ANSWERS} and answers.html")
        return
    print_comparison(run.results["comparison"], run.results["reference"], str(directory))
    table = pd.read_csv(directory / DIFFERENCES, dtype={"item": str}, keep_default_na=False)
    print_differences(table.to_dict("records"), first, str(directory / DIFFERENCES))  # type: ignore[arg-type]
    print(f"as a page: {directory / PAGE}")


def write_difference_files(
    found: Sequence[Evaluation], limit: int, place: Path, findings: Sequence[Finding] = ()
) -> list[Tally]:
    """Write `differences.csv` and `differences.html`.

    Args:
        found: Evaluations, the reference first.
        limit: Maximum number of problems on the page, per evaluation and benchmark.
        place: Directory.
        findings: Confounds, shown at the top of the page.

    Returns:
        What the page tells in its first sentences.
    """
    reference, *others = [evaluation.name for evaluation in found]
    scores = {evaluation.name: evaluation.scores for evaluation in found}
    details = {evaluation.name: evaluation.details for evaluation in found}
    rows = [row for name in others for row in differences(reference, name, scores, details)]
    tallied = [tally for name in others for tally in tallies(reference, name, scores)]
    pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(place / DIFFERENCES, index=False)
    write_differences(place / PAGE, reference, rows, tallied, limit, _said(findings))
    return tallied


def _list_answers(evaluation: Evaluation, limit: int, run: Run, findings: Sequence[Finding]) -> None:
    rows = answers(evaluation.name, evaluation.scores, evaluation.details)
    pd.DataFrame(rows, columns=list(ANSWER_COLUMNS)).to_csv(run.work / ANSWERS, index=False)
    write_answers(run.work / "answers.html", evaluation.name, rows, limit, _said(findings))
    run.results |= {"answers": len(rows)}


def _test(found: Sequence[Evaluation], resamples: int, seed: int, run: Run) -> None:
    reference, *others = found
    scores = {evaluation.name: evaluation.scores for evaluation in others}
    rows: list[dict[str, Any]] = [test.row() for test in compare_scores(reference.scores, scores, resamples, seed)]
    pd.DataFrame(rows).to_csv(run.work / COMPARISON, index=False)
    run.results |= {"reference": reference.name, "comparison": rows}


def _said(findings: Sequence[Finding]) -> list[tuple[str, str]]:
    return [(finding.severity, finding.sentence) for finding in findings]


def _label(found: Sequence[Evaluation]) -> str:
    reference, *others = (evaluation.name.strip("/").replace("/", "_") for evaluation in found)
    return f"{reference}-vs-{'+'.join(others)}" if others else reference
