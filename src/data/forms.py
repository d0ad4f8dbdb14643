"""Converters for records that are not simply one field for the prompt and one for the answer.

A form converts the fields of a record into those that a source's `user_prompt` and `answer` name (and `system`, if
there is a system turn), or raises `Unusable` to leave the record out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from src.data.docstrings import without_docstring
from src.data.examples import Unusable

Fields = dict[str, Any]
Form = Callable[[Fields], Fields]
_WORDS = re.compile(r"\w+")
FEW_WORDS = 4  # a docstring such as "Set name" may occur in the code by chance


def codexglue(fields: Fields) -> Fields:
    """CodeXGLUE code-to-text: remove the docstring from the code, as evaluation does.

    The fields `code` and `docstring` are the function and its documentation. A row whose code still contains
    the documentation (a docstring in single quotes in Python 2, a comment that repeats it) is dropped: it would teach
    the model to copy.

    Returns:
        The fields, with the docstring removed from `code`.

    Raises:
        Unusable: The code still contains the documentation.
    """
    bare = without_docstring(fields["code"]).rstrip("\n")
    documentation = " ".join(_WORDS.findall(fields["docstring"]))
    leaked = documentation in " ".join(_WORDS.findall(bare)) and documentation.count(" ") >= FEW_WORDS
    if leaked:
        raise Unusable("whose code repeats the docstring")
    return {**fields, "code": bare}


def alpaca(fields: Fields) -> Fields:
    """Instructions with an optional input: `instruction`, `input`, `output`.

    Returns:
        `prompt`, the instruction with its input on the next line, and `answer`.
    """
    extra = fields.get("input") or ""
    prompt = f"{fields['instruction']}\n{extra}" if extra else fields["instruction"]
    return {**fields, "prompt": prompt, "answer": fields["output"]}


def conversation(fields: Fields) -> Fields:
    """Chats: `conversations` with `from` and `value`, or `messages` with `role` and `content`.

    Returns:
        `prompt` and `answer` of the first exchange, a user turn that an assistant turn follows, and `system`, the
        system turn before it or the record's own field; later turns are left out.

    Raises:
        Unusable: There is no such exchange.
    """
    turns = fields.get("conversations") or fields.get("messages") or []
    found = [(_role(turn.get("from", turn.get("role"))), turn.get("value", turn.get("content"))) for turn in turns]
    system = next((text for role, text in found if role == "system"), fields.get("system"))
    spoken = [(role, text) for role, text in found if role != "system"]
    for (role, text), (next_role, answer) in pairwise(spoken):
        if (role, next_role) == ("user", "assistant"):
            return {**fields, "prompt": text, "answer": answer, "system": system}
    raise Unusable("without a user turn that an assistant turn follows")


def _role(name: str | None) -> str | None:
    return {"human": "user", "gpt": "assistant"}.get(name or "", name)
