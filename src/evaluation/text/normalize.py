"""The study's clean-up of a docstring before it is scored (arXiv 2601.21115, `norm_` columns of the authors' logs)."""

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
    """One line of prose: no fences, quotes, comment marks or thoughts, single spaces, no final full stop.

    Applied to prediction and reference alike. Letter case and inner punctuation stay.

    Args:
        text: A docstring, Javadoc block or model answer.

    Returns:
        The cleaned text; empty when nothing is left.
    """
    text = _THINKING.sub("", html.unescape(text))
    for mark in _DELETED:
        text = text.replace(mark, "")
    text = _LEADING_STAR.sub(" ", _COMMENT_MARKS.sub(" ", text))
    text = _WHITE_SPACE.sub(" ", text.replace("@param", ":param"))
    return text.strip().rstrip(".")


def extract_docstring(text: str) -> str:
    """The docstring inside an answer that returned whole code (the study's `ne_` columns); else the answer itself.

    A Javadoc block wins over the text around it, then the first triple-quoted string. An answer that opens a
    triple-quoted string and never closes it counts as empty, as in the study.
    """
    if block := re.search(r"/\*\*.*?\*/", text, re.DOTALL):
        text = block.group(0)
    if '"""' not in text:
        return text
    inner = re.search(r'"""(.*?)"""', text, re.DOTALL)
    return inner.group(1) if inner else ""
