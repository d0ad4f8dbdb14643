"""From what a model wrote to the texts of a program."""

from __future__ import annotations

import re
from typing import Any

from src.evaluation.problems import Problem

_FENCE = re.compile(r"^[ \t]*```[^\n`]*\n(.*?)(?:^[ \t]*```|\Z)", re.MULTILINE | re.DOTALL)


def candidate_programs(sample: dict[str, Any], problem: Problem) -> tuple[str, ...]:
    """Texts to try in order; the first that compiles is the program (compiling happens in the sandbox).

    - `solution` is a whole program, graded as it stands.
    - `completion` continues the prompt. EvalPlus grades `prompt + completion`, which also serves where the completion
      repeats the prompt; where that is no program, the completion alone may be.
    - Where either holds Markdown fences, the fenced code is tried after the text itself: alone, then after the prompt.

    Args:
        sample: A row of a samples file.
        problem: Its problem.
    """
    text = sample["solution"] if "solution" in sample else sample["completion"]
    texts = [text] if "solution" in sample else [problem.prompt + text, text]
    if blocks := fenced_code(text):
        texts += [blocks, problem.prompt + blocks]
    return tuple(texts)


def fenced_code(text: str) -> str:
    """The contents of all Markdown code blocks of `text`, the last of which may be open; empty where there are none."""
    if "```" not in text:
        return ""
    return "\n".join(_FENCE.findall(text))
