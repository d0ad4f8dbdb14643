"""chrF++ and ROUGE-L from the libraries whose numbers papers report: sacrebleu and rouge-score."""

from __future__ import annotations

from functools import cache

from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.chrf import CHRF


def chrf_plus_plus(prediction: str, reference: str) -> float:
    """Compute sentence chrF++ (characters 6, words 2, beta 2; case kept; DOI 10.18653/v1/W17-4770) as a fraction."""
    return _chrf().sentence_score(prediction, [reference]).score / 100


def rouge_l(prediction: str, reference: str) -> float:
    """Compute ROUGE-L F1 (ACL W04-1013) without stemming, on lower-cased runs of `[a-z0-9]`, as the paper does."""
    return float(_rouge(False).score(reference, prediction)["rougeL"].fmeasure)


def rouge_l_stem(prediction: str, reference: str) -> float:
    """Compute ROUGE-L F1 after Porter stemming of words longer than three letters."""
    return float(_rouge(True).score(reference, prediction)["rougeL"].fmeasure)


@cache
def _chrf() -> CHRF:
    return CHRF(word_order=2)


@cache
def _rouge(stem: bool) -> RougeScorer:
    return RougeScorer(["rougeL"], use_stemmer=stem)
