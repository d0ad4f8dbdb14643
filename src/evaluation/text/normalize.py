"""Normalize a docstring before it is scored, as the paper does (arXiv 2601.21115, `norm_` columns of its logs)."""

from __future__ import annotations

import html
import re

_THINKING = re.compile(r"<think>.*?</think>", re.DOTALL)
# `<\code>` and `<\p>` carry a backslash on purpose: the study deletes these literal strings and leaves `</code>` alone.
_DELETED = ("```", '"""', "<code>", "<\\code>", "<p>", "<\\p>")
_COMMENT_MARKS = re.compile(r"/\*\*|/\*|\*/")
_LEADING_STAR = re.compile(r"^\s*\* ?", re.MULTILINE)
_WHITE_SPACE = re.compile(r"\s+")


def normalize(text: str) -> str:
    """Reduce a text to one line of prose: no fences, quotes, comment marks or thoughts, no final period.

    Applied to both predictions and references. Letter case and inner punctuation are kept.

    Args:
        text: A docstring, Javadoc block or model answer.

    Returns:
        The cleaned text; empty if nothing is left.
    """
    text = _THINKING.sub("", html.unescape(text))
    for mark in _DELETED:
        text = text.replace(mark, "")
    text = _LEADING_STAR.sub(" ", _COMMENT_MARKS.sub(" ", text))
    text = _WHITE_SPACE.sub(" ", text.replace("@param", ":param"))
    return text.strip().rstrip(".")
