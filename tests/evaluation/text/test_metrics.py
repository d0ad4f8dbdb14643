from __future__ import annotations

import math
from pathlib import Path

import pytest
from sacrebleu.metrics.bleu import BLEU

from src.evaluation.text import metrics as module
from src.evaluation.text.corpus import bleu4_corpus
from src.evaluation.text.metrics import (
    SENTENCE_METRICS,
    STUDY_METRICS,
    meteor_metric,
    score_corpus,
    score_texts,
    text_metrics,
)
from src.utils.errors import UserError

EVERY = ["bleu4_paper", "bleu4_codexglue", "chrf++", "rouge_l", "rouge_l_stem", "meteor"]


@pytest.fixture
def no_wordnet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_wordnet", lambda: None)


def test_without_wordnet_meteor_has_another_name(no_wordnet: None) -> None:
    assert [metric.name for metric in text_metrics(STUDY_METRICS)] == [
        "bleu4_paper",
        "chrf++",
        "rouge_l",
        "meteor_nosyn",
    ]
    assert [metric.name for metric in text_metrics(["meteor"], wordnet=None)] == ["meteor_nosyn"]


def test_with_synonyms_meteor_has_its_own_name() -> None:
    class Synset:
        def lemmas(self) -> list[Synset]:
            return [self]

        def name(self) -> str:
            return "quick"

    class Fast:
        def synsets(self, word: str) -> list[Synset]:
            return [Synset()] if word == "fast" else []

    metric = meteor_metric(Fast())
    assert metric.name == "meteor"
    assert metric.score("fast", "quick") == pytest.approx(0.5)
    assert meteor_metric(None).score("fast", "quick") == 0


def test_every_metric_is_perfect_on_equal_texts_and_zero_on_nothing(no_wordnet: None) -> None:
    text = "Return the sum of all even numbers."
    perfect = score_texts([text], [text], text_metrics(EVERY))
    assert {name: round(values[0], 2) for name, values in perfect.items()} == dict.fromkeys(perfect, 1.0)
    empty = score_texts([""], [text], text_metrics(EVERY))
    codexglue = empty.pop("bleu4_codexglue")  # its evaluator's value for no tokens against eight
    assert codexglue == pytest.approx([math.exp(-8)])
    assert all(values[0] < 1e-9 for values in empty.values())


def test_both_sides_are_cleaned_but_for_codexglues_own_bleu(no_wordnet: None) -> None:
    metrics = text_metrics(["bleu4_paper", "bleu4_codexglue"])
    scores = score_texts(['```"""Return the sum of x."""```'], ["Return the sum of x"], metrics)
    assert scores["bleu4_paper"] == [1.0]
    assert scores["bleu4_codexglue"][0] < 0.9


def test_every_metric_says_what_it_is() -> None:
    assert all(len(metric.definition) > 20 for metric in SENTENCE_METRICS.values())
    assert {metric.published_scale for metric in SENTENCE_METRICS.values()} == {1, 100}


def test_corpus_scores_are_taken_after_cleaning() -> None:
    scores = score_corpus(["Return  the sum of x."], ["Return the sum of x"])
    assert {name: score.mean for name, score in scores.items()} == {
        "bleu4_corpus": pytest.approx(1.0),
        "chrf++_corpus": pytest.approx(1.0),
    }
    assert bleu4_corpus(["Return the sum of x ."], ["Return the sum of x"]).mean < 1


def test_corpus_intervals_are_of_rows_drawn_with_replacement() -> None:
    """Two rows, one perfect and one without a match: a draw holds the first 0, 1 or 2 times, in 1/4, 1/2, 1/4."""
    predictions, references = ["a b c d e", "v w x y z"], ["a b c d e", "l m n o p"]
    mixed = BLEU().corpus_score(predictions, [references]).score / 100
    score = bleu4_corpus(predictions, references)
    assert (score.n, score.mean) == (2, mixed)
    assert 0 <= score.low < 0.01 < mixed < score.high == pytest.approx(1.0)
    assert bleu4_corpus(predictions, references) == score


def test_unknown_metric_lists_the_choices() -> None:
    with pytest.raises(UserError, match=r"unknown text metric 'rouge', did you mean 'rouge_l'\?.*meteor_nosyn"):
        text_metrics(["rouge"])


def test_unequal_lists_are_refused() -> None:
    with pytest.raises(UserError, match="got 1 and 2"):
        score_texts(["a"], ["a", "b"], [])


def test_a_named_directory_must_hold_wordnet(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"benchmark\.wordnet=.*nltk\.downloader"):
        text_metrics(["meteor"], wordnet=str(tmp_path))
