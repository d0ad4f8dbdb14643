"""A study's row of an atlas, from which `python -m src.predictor.refit` fits the predictor."""

from __future__ import annotations

from pathlib import Path

from src.evaluation.statistics.verdict import StudyVerdict
from src.predictor.atlas import read_features
from src.stages.study.jobs import StudyJobs


def atlas_row(jobs: StudyJobs, verdict: StudyVerdict, diagnosis: Path) -> dict[str, float | str]:
    """Outcome and features of a study.

    Args:
        jobs: The study; the values of its cell become columns.
        verdict: Its outcome.
        diagnosis: Run directory of its weight diagnosis, with features.

    Returns:
        The cell, `base` and `pair`, `gap` (the chosen merge minus the mixture, points of the average) and its standard
        error over problems, `gap_scores` in the scores themselves, and the features of docs/predictor.md.
    """
    gap = verdict.difference  # mixture minus merge
    return {
        **(jobs.plan.cell or {}),
        "base": Path(jobs.checkpoint(jobs.base)).name,
        "pair": "+".join(jobs.tasks),
        "gap": -100 * gap.difference,
        "gap_error": 100 * verdict.variation.items,
        "gap_scores": -100 * verdict.points.difference,
        **read_features(diagnosis),
    }
