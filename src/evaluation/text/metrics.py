"""Scores of a predicted text against its reference, each with its definition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from src.evaluation.statistics.bootstrap import Interval
from src.evaluation.text.bleu import bleu4_codexglue, bleu4_paper
from src.evaluation.text.chrf import chrf_plus_plus
from src.evaluation.text.corpus import CORPUS_SCORES
from src.evaluation.text.meteor import CachedSynonyms, NoSynonyms, Synonyms, meteor
from src.evaluation.text.normalize import normalize
from src.evaluation.text.rouge import rouge_l, rouge_l_stem
from src.evaluation.text.wordnet import WordNet, find_wordnet, how_to_get
from src.utils.errors import UserError, unknown_choice


@dataclass(frozen=True)
class TextMetric:
    """One way to score a row.

    Attributes:
        name: As in score tables.
        definition: One line, printed beside every number.
        published_scale: 100 where papers print percentages, 1 where they print fractions; our tables hold fractions.
        score: (prediction, reference) -> fraction.
        cleaned: Whether both texts pass through the study's `normalize` first.
    """

    name: str
    definition: str
    published_scale: int
    score: Callable[[str, str], float]
    cleaned: bool = True


STUDY_METRICS = ("bleu4_paper", "chrf++", "rouge_l", "meteor")
_METEOR = "nltk METEOR (alpha 0.9, beta 3, gamma 0.5) on Treebank tokens, lower-cased, Porter stems"
SENTENCE_METRICS = {
    metric.name: metric
    for metric in (
        TextMetric("bleu4_paper", "mean unsmoothed sentence BLEU-4 on whitespace tokens, cased", 1, bleu4_paper),
        TextMetric(
            "bleu4_codexglue",
            "mean smoothed sentence BLEU-4 of CodeXGLUE's evaluator, lower-cased mteval tokens, raw text",
            100,
            bleu4_codexglue,
            cleaned=False,
        ),
        TextMetric(
            "chrf++", "mean sacrebleu sentence chrF++ (characters 6, words 2, beta 2), cased", 1, chrf_plus_plus
        ),
        TextMetric("rouge_l", "mean rouge-score ROUGE-L F1, no stemmer", 1, rouge_l),
        TextMetric("rouge_l_stem", "mean rouge-score ROUGE-L F1, Porter stemmer", 1, rouge_l_stem),
    )
}


def meteor_metric(wordnet: Synonyms | None) -> TextMetric:
    """`meteor` with a WordNet, `meteor_nosyn` with None: two names, since their values differ by about 2 %."""
    if wordnet is None:
        score = partial(_meteor, wordnet=NoSynonyms())
        return TextMetric("meteor_nosyn", f"mean {_METEOR}, exact and stem matches only", 1, score)
    score = partial(_meteor, wordnet=CachedSynonyms(wordnet))
    return TextMetric("meteor", f"mean {_METEOR}, WordNet 3.0 synonyms", 1, score)


def text_metrics(names: Sequence[str] = STUDY_METRICS, wordnet: Path | str | None = "auto") -> list[TextMetric]:
    """The metrics of these names, ready to score.

    Args:
        names: From `SENTENCE_METRICS`, `meteor` and `meteor_nosyn`.
        wordnet: A WordNet directory; `"auto"`: wherever one is found, and where none is, `meteor` becomes
            `meteor_nosyn`; None: `meteor` becomes `meteor_nosyn`.

    Returns:
        One metric a name, in order.

    Raises:
        UserError: An unknown name, or a directory without WordNet.
    """
    place = find_wordnet() if wordnet == "auto" else wordnet
    database = WordNet(Path(place)) if place is not None else None
    built = {"meteor": lambda: meteor_metric(database), "meteor_nosyn": lambda: meteor_metric(None)}
    metrics = []
    for name in names:
        if name not in SENTENCE_METRICS and name not in built:
            raise unknown_choice("text metric", name, [*SENTENCE_METRICS, *built])
        metrics.append(built[name]() if name in built else SENTENCE_METRICS[name])
    return metrics


def require_wordnet() -> Path:
    """The WordNet directory of this machine.

    Raises:
        UserError: There is none; the message says how to get it.
    """
    place = find_wordnet()
    if place is None:
        raise UserError(f"METEOR's synonyms need WordNet 3.0: {how_to_get()}")
    return place


def score_texts(
    predictions: Sequence[str], references: Sequence[str], metrics: Sequence[TextMetric]
) -> dict[str, list[float]]:
    """Score every row with every metric.

    Args:
        predictions: N texts.
        references: N texts.
        metrics: From `text_metrics`.

    Returns:
        metric name -> N fractions.

    Raises:
        UserError: The two lists differ in length.
    """
    if len(predictions) != len(references):
        raise UserError(f"expected one prediction a reference, got {len(predictions)} and {len(references)}")
    raw = [
        (prediction.strip(), reference.strip()) for prediction, reference in zip(predictions, references, strict=True)
    ]
    clean = [(normalize(prediction), normalize(reference)) for prediction, reference in raw]
    return {metric.name: [metric.score(*row) for row in (clean if metric.cleaned else raw)] for metric in metrics}


def score_corpus(
    predictions: Sequence[str], references: Sequence[str], metrics: Sequence[str] = tuple(CORPUS_SCORES)
) -> dict[str, Interval]:
    """Corpus-level scores after the study's normalization, as fractions with n and interval.

    Args:
        predictions: N texts.
        references: N texts.
        metrics: From `CORPUS_SCORES`.
    """
    clean = [[normalize(text.strip()) for text in texts] for texts in (predictions, references)]
    return {name: CORPUS_SCORES[name][1](*clean) for name in metrics}


def _meteor(prediction: str, reference: str, wordnet: Synonyms) -> float:
    return meteor(prediction, reference, wordnet)
