"""BLEU-4 (DOI 10.3115/1073083.1073135) as defined by the paper and by CodeXGLUE: two metrics with one name."""

from __future__ import annotations

import math
import re
import sys
from collections import Counter
from collections.abc import Sequence
from xml.sax.saxutils import unescape

ORDERS = 4


def matches(reference: Sequence[str], hypothesis: Sequence[str]) -> list[int]:
    """Count clipped n-gram matches of orders 1 to 4.

    Args:
        reference: Tokens of the only reference.
        hypothesis: Tokens of the candidate.

    Returns:
        Four counts of the hypothesis's n-grams that occur in the reference, each counted at most as often as there.
    """
    counts = []
    for order in range(1, ORDERS + 1):
        wanted, got = _ngrams(reference, order), _ngrams(hypothesis, order)
        counts.append(sum(min(number, wanted[ngram]) for ngram, number in got.items() if ngram in wanted))
    return counts


def bleu4_paper(prediction: str, reference: str) -> float:
    """Compute unsmoothed sentence BLEU-4 on whitespace tokens, case kept, as `nltk.sentence_bleu` does.

    Zero if any order has no match; nltk then returns 1e-78 to 1e-231, which means zero.
    """
    hypothesis, wanted = prediction.split(), reference.split()
    counts = matches(wanted, hypothesis)
    if not all(counts):
        return 0.0
    precision = sum(math.log(count / (len(hypothesis) - order)) for order, count in enumerate(counts)) / ORDERS
    return math.exp(min(0.0, 1 - len(wanted) / len(hypothesis)) + precision)


def bleu4_codexglue(prediction: str, reference: str) -> float:
    """Compute smoothed sentence BLEU-4 as CodeXGLUE's code-to-text evaluator does (arXiv 2102.04664), as a fraction.

    Lower case, punctuation split off, mteval tokens; one is added to matches and totals of orders 2 to 4, and to both
    lengths of the brevity penalty. The published figures are the mean over rows times 100. An empty prediction scores
    exp(-len(reference)), as there.
    """
    hypothesis, wanted = codexglue_tokens(prediction), codexglue_tokens(reference)
    tiny = sys.float_info.min
    logarithm = 0.0
    for order, count in enumerate(matches(wanted, hypothesis)):
        total, added = max(0, len(hypothesis) - order), int(order > 0)
        logarithm += math.log(count + added + tiny) - math.log(total + added + tiny)
    return math.exp(logarithm / ORDERS + min(0.0, 1 - (len(wanted) + 1) / (len(hypothesis) + 1)))


_WORDS_AND_MARKS = re.compile(r"\w+|[^\s\w]")
_MTEVAL = (
    (re.compile(r"([\{-\~\[-\` -\&\(-\+\:-\@\/])"), r" \1 "),  # punctuation except apostrophe, comma, period, dash
    (re.compile(r"([^0-9])([\.,])"), r"\1 \2 "),
    (re.compile(r"([\.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)


def codexglue_tokens(text: str) -> list[str]:
    """Tokens of the CodeXGLUE evaluator: lower case, marks split off, then mteval-v11a's tokenizer."""
    text = " ".join(_WORDS_AND_MARKS.findall(text.strip().lower())).replace("<skipped>", "")
    text = " " + unescape(text, {"&quot;": '"'}) + " "
    for pattern, replacement in _MTEVAL:
        text = pattern.sub(replacement, text)
    return text.split()


def _ngrams(tokens: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(tokens[start:] for start in range(order)), strict=False))
