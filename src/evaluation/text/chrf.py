"""chrF++: F2 over character 6-grams and word 2-grams, by sacrebleu (DOI 10.18653/v1/W17-4770)."""

from __future__ import annotations

from functools import cache

from sacrebleu.metrics.chrf import CHRF


def chrf_plus_plus(prediction: str, reference: str) -> float:
    """Sentence chrF++ (`word_order=2`, case kept), as a fraction."""
    return _scorer().sentence_score(prediction, [reference]).score / 100


@cache
def _scorer() -> CHRF:
    return CHRF(word_order=2)
