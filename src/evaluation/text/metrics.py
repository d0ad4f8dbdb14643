"""Text metrics by name, each with its definition: score a predicted text against its reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from src.evaluation.statistics.bootstrap import Interval
from src.evaluation.text.bleu import bleu4_codexglue, bleu4_paper
from src.evaluation.text.corpus import CORPUS_SCORES
from src.evaluation.text.library import chrf_plus_plus, rouge_l, rouge_l_stem
from src.evaluation.text.meteor import NoSynonyms, Synonyms, find_wordnet, meteor
from src.evaluation.text.normalize import normalize
from src.utils.errors import UserError, unknown_choice


@dataclass(frozen=True)
class TextMetric:
    """A metric of one row.

    Attributes:
        name: Name in score tables.
        definition: One line, printed with every value.
        published_scale: 100 if papers print percentages, 1 if they print fractions; our tables hold fractions.
        score: (prediction, reference) -> fraction.
        cleaned: Apply the paper's `normalize` to both texts first.
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
    """Build `meteor` with a WordNet, `meteor_nosyn` with None: two names, since their values differ by about 2%."""
    score = partial(meteor, wordnet=wordnet or NoSynonyms())
    if wordnet is None:
        return TextMetric("meteor_nosyn", f"mean {_METEOR}, exact and stem matches only", 1, score)
    return TextMetric("meteor", f"mean {_METEOR}, WordNet 3.0 synonyms", 1, score)


def text_metrics(names: Sequence[str] = STUDY_METRICS, wordnet: Path | str | None = "auto") -> list[TextMetric]:
    """Return the metrics with these names, ready to score.

    Args:
        names: From `SENTENCE_METRICS`, `meteor` and `meteor_nosyn`.
        wordnet: A directory of nltk data with WordNet; `"auto"`: wherever nltk finds it. None, or not found: `meteor`
            becomes `meteor_nosyn`.

    Returns:
        One metric per name, in order.

    Raises:
        UserError: A name is unknown, or a directory has no WordNet.
    """
    database = _wordnet(wordnet) if "meteor" in names else None
    built = {"meteor": lambda: meteor_metric(database), "meteor_nosyn": lambda: meteor_metric(None)}
    metrics = []
    for name in names:
        if name not in SENTENCE_METRICS and name not in built:
            raise unknown_choice("text metric", name, [*SENTENCE_METRICS, *built])
        metrics.append(built[name]() if name in built else SENTENCE_METRICS[name])
    return metrics


def score_texts(
    predictions: Sequence[str], references: Sequence[str], metrics: Sequence[TextMetric]
) -> dict[str, list[float]]:
    """Score every row on every metric.

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
        raise UserError(f"expected one prediction per reference, got {len(predictions)} and {len(references)}")
    raw = [
        (prediction.strip(), reference.strip()) for prediction, reference in zip(predictions, references, strict=True)
    ]
    clean = [(normalize(prediction), normalize(reference)) for prediction, reference in raw]
    return {metric.name: [metric.score(*row) for row in (clean if metric.cleaned else raw)] for metric in metrics}


def score_corpus(
    predictions: Sequence[str],
    references: Sequence[str],
    metrics: Sequence[str] = tuple(CORPUS_SCORES),
    clusters: Sequence[str] | None = None,
) -> dict[str, Interval]:
    """Compute corpus-level scores after the paper's normalization, as fractions with n and interval.

    Args:
        predictions: N texts.
        references: N texts.
        metrics: From `CORPUS_SCORES`.
        clusters: The cluster of each text; intervals then draw clusters, not texts.
    """
    wanted, got = ([normalize(text.strip()) for text in texts] for texts in (references, predictions))
    return {name: CORPUS_SCORES[name][1](got, wanted, clusters) for name in metrics}


def _wordnet(place: Path | str | None) -> Synonyms | None:
    if place is None or place == "auto":
        return None if place is None else find_wordnet()
    found = find_wordnet(place)
    if found is None:
        raise UserError(
            f"benchmark.wordnet={place}: expected nltk data with corpora/wordnet; "
            f"`python -m nltk.downloader -d {place} wordnet` installs it"
        )
    return found
