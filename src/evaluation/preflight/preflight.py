"""All checks of a comparison, before its scores are compared."""

from __future__ import annotations

from collections.abc import Sequence

from src.evaluation.preflight.choice_checks import check_choice, check_coefficients
from src.evaluation.preflight.evaluation_checks import check_evaluations, check_training_prompts, unknown
from src.evaluation.preflight.facts import Subject
from src.evaluation.preflight.finding import Finding, by_severity
from src.evaluation.preflight.model_checks import check_models
from src.evaluation.preflight.score_checks import check_specialists


def preflight(subjects: Sequence[Subject]) -> list[Finding]:
    """List what may decide a comparison besides what is compared, the serious findings first."""
    models = [subject.model for subject in subjects if subject.model is not None]
    return by_severity(
        [
            *unknown(subjects),
            *check_models(models),
            *check_training_prompts(subjects),
            *check_evaluations(subjects),
            *check_choice(subjects),
            *check_coefficients(models),
            *check_specialists(subjects),
        ]
    )
