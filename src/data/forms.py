"""Converters for records that are not simply one field for the prompt and one for the answer.

A form converts the fields of a record into those that a source's `user_prompt` and `answer` name, or returns None to
drop the record.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from src.data.docstrings import without_docstring

Fields = dict[str, Any]
Form = Callable[[Fields], Fields | None]
_WORDS = re.compile(r"\w+")
FEW_WORDS = 4  # a docstring such as "Set name" may occur in the code by chance


def codexglue(fields: Fields) -> Fields | None:
    """CodeXGLUE code-to-text: remove the docstring from the code, as evaluation does.

    The fields `code` and `docstring` are the function and its documentation. A row whose code still contains
    the documentation (a docstring in single quotes in Python 2, a comment that repeats it) is dropped: it would teach
    the model to copy.

    Returns:
        The fields, with the docstring removed from `code`; None for a row to leave out.
    """
    bare = without_docstring(fields["code"]).rstrip("\n")
    documentation = " ".join(_WORDS.findall(fields["docstring"]))
    leaked = documentation in " ".join(_WORDS.findall(bare)) and documentation.count(" ") >= FEW_WORDS
    return None if leaked else {**fields, "code": bare}


def alpaca(fields: Fields) -> Fields:
    """Instructions with an optional input: `instruction`, `input`, `output`.

    Returns:
        `prompt`, the instruction with its input on the next line, and `answer`.
    """
    extra = fields.get("input") or ""
    prompt = f"{fields['instruction']}\n{extra}" if extra else fields["instruction"]
    return {**fields, "prompt": prompt, "answer": fields["output"]}


def conversation(fields: Fields) -> Fields | None:
    """Chats: `conversations` with `from` and `value`, or `messages` with `role` and `content`.

    Returns:
        `prompt` and `answer` of the first exchange; None for a chat without one.
    """
    turns = fields.get("conversations") or fields.get("messages") or []
    pairs = [(turn.get("from", turn.get("role")), turn.get("value", turn.get("content"))) for turn in turns]
    users = [text for who, text in pairs if who in ("human", "user")]
    answers = [text for who, text in pairs if who in ("gpt", "assistant")]
    if not users or not answers:
        return None
    return {**fields, "prompt": users[0], "answer": answers[0]}
