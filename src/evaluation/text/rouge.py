"""ROUGE-L F1 (ACL W04-1013) by rouge-score."""

from __future__ import annotations

from functools import cache

from rouge_score.rouge_scorer import RougeScorer


def rouge_l(prediction: str, reference: str) -> float:
    """ROUGE-L F1 without stemming: lower-cased runs of `[a-z0-9]`, as the study has it (but without its bootstrap)."""
    return float(_scorer(False).score(reference, prediction)["rougeL"].fmeasure)


def rouge_l_stem(prediction: str, reference: str) -> float:
    """ROUGE-L F1 after Porter stemming of words longer than three letters."""
    return float(_scorer(True).score(reference, prediction)["rougeL"].fmeasure)


@cache
def _scorer(stem: bool) -> RougeScorer:
    return RougeScorer(["rougeL"], use_stemmer=stem)
