"""Turn a model's answer into the program texts to try."""

from __future__ import annotations

import re
from typing import Any

from src.evaluation.grading.problems import Problem

_FENCE = re.compile(r"^[ \t]*```[^\n`]*\n(.*?)(?:^[ \t]*```|\Z)", re.MULTILINE | re.DOTALL)


def candidate_programs(sample: dict[str, Any], problem: Problem, reduced: str = "") -> tuple[str, ...]:
    """List the texts to try in order; the first that compiles is the program (compilation happens in the sandbox).

    - `solution` is a whole program, graded as it is.
    - `completion` continues the prompt. EvalPlus grades `prompt + completion`, which also works if the completion
      repeats the prompt; if that does not compile, the completion alone may.
    - If either has Markdown fences, the sanitized text comes next, if it defines the requested function; then the
      fenced code, alone and after the prompt.

    Args:
        sample: Row of a samples file.
        problem: Its problem.
        reduced: The sanitized text; empty: do not try it.
    """
    text = program_text(sample)
    texts = [text] if "solution" in sample else [problem.prompt + text, text]
    if blocks := fenced_code(text):
        texts += [reduced] if defines(reduced, problem.entry_point) else []
        texts += [blocks, problem.prompt + blocks]
    return tuple(texts)


def program_text(sample: dict[str, Any]) -> str:
    """Return `solution` of a row, else its `completion`."""
    return str(sample["solution"] if "solution" in sample else sample["completion"])


def whole_answer(text: str, prompt: str, entry_point: str) -> str:
    """Return the text to sanitize: the answer if it defines the function or has fences, else prompt and answer.

    EvalPlus always sanitizes prompt and answer together; the prompt may then be the longest stretch that parses.
    """
    whole = defines(text, entry_point) or fenced_code(text)
    return text if whole else f"{prompt}\n{text}"


def defines(text: str, name: str) -> bool:
    """Return True if a line of `text` starts the definition of a function or an assignment of that name."""
    return (
        re.search(rf"^[ \t]*(?:(?:async[ \t]+)?def[ \t]+{re.escape(name)}\b|{re.escape(name)}[ \t]*=)", text, re.M)
        is not None
    )


def fenced_code(text: str) -> str:
    """Return the contents of all Markdown code blocks of `text`, the last of which may be open; empty if none."""
    if "```" not in text:
        return ""
    return "\n".join(_FENCE.findall(text))
