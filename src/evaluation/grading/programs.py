"""From what a model wrote to the texts of a program."""

from __future__ import annotations

import re
from typing import Any

from src.evaluation.grading.problems import Problem

_FENCE = re.compile(r"^[ \t]*```[^\n`]*\n(.*?)(?:^[ \t]*```|\Z)", re.MULTILINE | re.DOTALL)


def candidate_programs(sample: dict[str, Any], problem: Problem, reduced: str = "") -> tuple[str, ...]:
    """Texts to try in order; the first that compiles is the program (compiling happens in the sandbox).

    - `solution` is a whole program, graded as it stands.
    - `completion` continues the prompt. EvalPlus grades `prompt + completion`, which also serves where the completion
      repeats the prompt; where that is no program, the completion alone may be.
    - Where either holds Markdown fences, what the sanitizer finds in it comes next, if it defines the function asked
      for; then the fenced code: alone, then after the prompt.

    Args:
        sample: A row of a samples file.
        problem: Its problem.
        reduced: The text, sanitized; empty: not tried.
    """
    text = program_text(sample)
    texts = [text] if "solution" in sample else [problem.prompt + text, text]
    if blocks := fenced_code(text):
        texts += [reduced] if defines(reduced, problem.entry_point) else []
        texts += [blocks, problem.prompt + blocks]
    return tuple(texts)


def program_text(sample: dict[str, Any]) -> str:
    """`solution` of a row, else its `completion`."""
    return str(sample["solution"] if "solution" in sample else sample["completion"])


def whole_answer(text: str, prompt: str, entry_point: str) -> str:
    """The text to sanitize: the answer alone if it defines the function or has Markdown fences, else prompt and answer.

    EvalPlus always sanitizes prompt and answer, of which the prompt can be the longest stretch that parses.
    """
    whole = defines(text, entry_point) or fenced_code(text)
    return text if whole else f"{prompt}\n{text}"


def defines(text: str, name: str) -> bool:
    """Whether a line of `text` begins the definition of a function, or the assignment of a variable, of that name."""
    return (
        re.search(rf"^[ \t]*(?:(?:async[ \t]+)?def[ \t]+{re.escape(name)}\b|{re.escape(name)}[ \t]*=)", text, re.M)
        is not None
    )


def fenced_code(text: str) -> str:
    """The contents of all Markdown code blocks of `text`, the last of which may be open; empty where there are none."""
    if "```" not in text:
        return ""
    return "\n".join(_FENCE.findall(text))
