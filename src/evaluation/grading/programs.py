"""Turn a model's answer into the program texts to try."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from src.evaluation.grading.fences import code_blocks, widest_block, with_helpers


@dataclass(frozen=True)
class Answer:
    """An answer as the texts that may be its program.

    Attributes:
        task_id: The problem.
        texts: Texts to try in order; the first that compiles is the program (compilation happens in the sandbox).
        raw: Text for the sanitizer.
        chat: Text around the function is part of a conversation (an example that waits for input, say): where it fails,
            the function counts without it. False: the answer is a program, and counts as it stands.
    """

    task_id: str
    texts: tuple[str, ...]
    raw: str
    chat: bool = False


def answer_of_row(row: dict[str, Any], prompt: str, entry_point: str) -> Answer:
    """Build the answer of a row of a samples file.

    Args:
        row: With `task_id` and `solution` (a whole program) or `completion` (continues the prompt, or is whole).
        prompt: The problem's prompt.
        entry_point: Name of the requested function.
    """
    if "solution" in row:
        text = str(row["solution"])
        texts = candidate_programs((text,), text, prompt, entry_point)
        return Answer(row["task_id"], texts, text, bool(code_blocks(text)))
    text = str(row["completion"])
    texts = candidate_programs((prompt + text, text), text, prompt, entry_point)
    return Answer(row["task_id"], texts, whole_answer(text, prompt, entry_point), bool(code_blocks(text)))


def candidate_programs(whole: tuple[str, ...], shown: str, prompt: str, entry_point: str) -> tuple[str, ...]:
    """List the texts to try in order.

    Args:
        whole: The whole answer, and the prompt with it where the answer may continue the prompt. It comes first: what
            parses is graded as it stands.
        shown: The answer as Markdown. Its code blocks come next: the last complete one that defines the function, with
            the helpers that earlier blocks define; then other forms of the same.
        prompt: The problem's prompt, which a block may continue.
        entry_point: Name of the requested function.
    """
    texts = [*whole, *(text.lstrip("\ufeff \t\r\n") for text in whole[-1:])]
    blocks = code_blocks(shown)
    complete = [index for index, block in enumerate(blocks) if block.closed and defines(block.text, entry_point)]
    cut_off = [index for index, block in enumerate(blocks) if not block.closed and defines(block.text, entry_point)]
    for index in [*reversed(complete), *cut_off]:
        texts += [with_helpers(blocks, index), blocks[index].text]
    texts += [widest_block(shown), "".join(block.text for block in blocks)]
    texts += [prompt + block.text for block in blocks]
    return tuple(dict.fromkeys(text for number, text in enumerate(texts) if text or number < len(whole)))


def likely_program(texts: Sequence[str], entry_point: str) -> str:
    """Return the text that most likely was run, for files of other tools: only the sandbox knows which one compiles."""
    code = [text for text in texts if defines(text, entry_point) and not code_blocks(text)]
    return code[0] if code else texts[0]


def whole_answer(text: str, prompt: str, entry_point: str) -> str:
    """Return the text to sanitize: the answer if it defines the function or has fences, else prompt and answer.

    EvalPlus always sanitizes prompt and answer together; the prompt may then be the longest stretch that parses.
    """
    return text if defines(text, entry_point) or code_blocks(text) else f"{prompt}\n{text}"


def defines(text: str, name: str) -> bool:
    """Return True if a line of `text` starts the definition of a function or class or an assignment of that name.

    Args:
        text: Code, perhaps with prose around it.
        name: The name; empty: any function or class.
    """
    definition = r"(?:(?:async[ \t]+)?def|class)[ \t]+"
    return (
        re.search(rf"^[ \t]*(?:{definition}{re.escape(name)}\b|{re.escape(name)}[ \t]*=(?!=))", text, re.M) is not None
    )
