from __future__ import annotations

import math
import random
import warnings
from pathlib import Path

import pytest
import sacrebleu
from nltk.translate.bleu_score import sentence_bleu

from src.evaluation.text.bleu import bleu4_codexglue, bleu4_paper, codexglue_tokens, matches
from src.evaluation.text.corpus import bleu4_corpus
from src.evaluation.text.metrics import SENTENCE_METRICS, score_texts, text_metrics

SHARED = Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "summarization_outputs"


def rows(language: str) -> list[tuple[str, str]]:
    """(prediction, reference) pairs of a published model."""
    if not SHARED.is_dir():
        pytest.skip(f"published summaries are not at {SHARED}")
    texts = []
    for kind in ("output", "gold"):
        lines = (SHARED / "codex_10shot" / f"{language}.{kind}").read_text(encoding="utf-8").split("\n")
        texts.append({line.partition("\t")[0]: line.partition("\t")[2] for line in lines if line})
    return [(texts[0][key], texts[1][key]) for key in texts[1]]


def test_matches_are_clipped() -> None:
    # "the" occurs twice in the reference, so only two of the seven count; no bigram "the the" there
    assert matches(["the", "cat", "is", "on", "the", "mat"], ["the"] * 7) == [2, 0, 0, 0]


def test_hand_worked_sentence() -> None:
    # matches 5/6, 4/5, 3/4, 2/3; equal length, so no brevity penalty
    expected = (5 / 6 * 4 / 5 * 3 / 4 * 2 / 3) ** 0.25
    assert bleu4_paper("a b c d e x", "a b c d e f") == pytest.approx(expected, abs=1e-15)


def test_hand_worked_brevity_penalty() -> None:
    # all n-grams match, hypothesis 4 tokens, reference 8: exp(1 - 8/4)
    assert bleu4_paper("a b c d", "a b c d e f g h") == pytest.approx(math.exp(-1), abs=1e-15)


@pytest.mark.parametrize(
    "pair", [("", "a b c d"), ("a b c", "a b c"), ("a b c x d", "a b c d"), ("", ""), ("A b c d", "a b c d")]
)
def test_a_missing_order_scores_zero(pair: tuple[str, str]) -> None:
    assert bleu4_paper(*pair) == 0.0


def test_equals_nltk_on_random_sentences() -> None:
    generator = random.Random(0)
    for _ in range(500):
        hypothesis, reference = (
            " ".join(generator.choice("abcde") for _ in range(generator.randint(1, 14))) for _ in range(2)
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nltk warns about zero counts
            expected = sentence_bleu([reference.split()], hypothesis.split())
        assert bleu4_paper(hypothesis, reference) == pytest.approx(expected, abs=1e-12)


def test_equals_nltk_on_published_outputs() -> None:
    for prediction, reference in rows("Java")[:300]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = sentence_bleu([reference.split()], prediction.split())
        assert bleu4_paper(prediction, reference) == pytest.approx(expected, abs=1e-12)


def test_codexglue_tokens() -> None:
    tokens = codexglue_tokens("Don't use foo_bar(x): 3.5")
    assert tokens == ["don", "'", "t", "use", "foo", "_", "bar", "(", "x", ")", ":", "3", ".", "5"]


def test_codexglue_hand_worked() -> None:
    # tokens a b c d | a b c e: matches 3/4, then (2+1)/(3+1), (1+1)/(2+1), (0+1)/(1+1); equal lengths
    expected = (3 / 4 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    assert bleu4_codexglue("a b c e", "a b c d") == pytest.approx(expected, abs=1e-15)


def test_codexglue_brevity_penalty_adds_one_to_both_lengths() -> None:
    assert bleu4_codexglue("a b c d", "a b c d e f g h i") == pytest.approx(math.exp(1 - 10 / 5), abs=1e-15)


@pytest.mark.parametrize(
    ("language", "published"),
    [
        ("Python", 20.764499754675306),
        ("Java", 21.879732360165907),
        ("Go", 22.646603357901725),
        ("JS", 18.41844727661421),
        ("PHP", 26.63008381480624),
        ("Ruby", 16.953670964444253),
    ],
)
def test_codexglue_equals_its_evaluator_in_six_languages(language: str, published: float) -> None:
    scores = [bleu4_codexglue(prediction, reference) for prediction, reference in rows(language)]
    assert 100 * math.fsum(scores) / len(scores) == pytest.approx(published, abs=1e-9)


def test_codexglue_equals_the_evaluators_own_example() -> None:
    if not SHARED.is_dir():
        pytest.skip(f"published summaries are not at {SHARED}")
    example = SHARED / "codexglue_evaluator_example"
    texts = [(example / name).read_text().splitlines() for name in ("predictions.txt", "reference.txt")]
    pairs = [[line.partition("\t")[2] for line in pair] for pair in zip(*texts, strict=True)]
    assert 100 * sum(bleu4_codexglue(*pair) for pair in pairs) / len(pairs) == pytest.approx(
        9.554726113590661, abs=1e-9
    )


def test_corpus_equals_sacrebleu() -> None:
    predictions, references = ["the cat sat down", "a dog"], ["the cat sat up", "a dog runs"]
    expected = sacrebleu.corpus_bleu(predictions, [references]).score
    assert bleu4_corpus(predictions, references, resamples=10).mean == expected / 100


def test_scores_do_not_depend_on_the_other_rows() -> None:
    """One row at a time or all together: a scorer that keeps anything from row to row, or swaps rows, fails."""
    rows = [("a b c d e", "a b c d e"), ("b c d e a", "a b c d e"), ("a b c d e f", "a b c"), ("", "x"), ("x", "x y")]
    metrics = text_metrics([*SENTENCE_METRICS, "meteor_nosyn"])
    together = score_texts(*zip(*rows, strict=True), metrics)
    alone = [score_texts([prediction], [reference], metrics) for prediction, reference in reversed(rows)]
    assert together == {name: [row[name][0] for row in reversed(alone)] for name in together}
    assert together["bleu4_codexglue"] == [bleu4_codexglue(*row) for row in rows]
    assert len(set(together["bleu4_codexglue"])) == len(rows)
