"""Programs of answers in any language: whole programs between fences, and continuations of a prompt."""

from __future__ import annotations

from collections.abc import Sequence

from src.evaluation.grading.fences import code_blocks


def whole_programs(text: str, languages: Sequence[str]) -> tuple[str, ...]:
    """List the texts that may be the program of an answer, best first.

    Args:
        text: The answer.
        languages: Names of the language after a fence. Complete blocks come first, among them those in the language,
            then those that name none; among equals the last, with which an answer that corrects itself ends.
    """
    blocks = code_blocks(text)

    def rank(place: int) -> tuple[bool, int, int]:
        block = blocks[place]
        named = 0 if block.language in languages else 1 if not block.language else 2
        return (not block.closed, named, -place)

    texts = [blocks[place].text for place in sorted(range(len(blocks)), key=rank)]
    return tuple(dict.fromkeys([*texts, text]))


def continuations(text: str, prompt: str, stop: Sequence[str], languages: Sequence[str]) -> tuple[str, ...]:
    """List the programs that an answer to a prompt to continue may be, best first, without what follows a stop string.

    Args:
        text: The answer. A code block that repeats the last line of the prompt continues it there; any other block is
            the continuation, or a whole program.
        prompt: The text to continue.
        stop: The continuation ends before the first of these strings.
        languages: Names of the language after a fence.
    """
    found = []
    blocks = whole_programs(text, languages)
    for block in blocks[:-1]:
        repeated = _after_last_line(block, prompt)
        found += [prompt + before(block if repeated is None else repeated, stop), block]
    return tuple(dict.fromkeys([*found, prompt + before(text, stop)]))


def before(text: str, stop: Sequence[str]) -> str:
    """Return `text` up to the first of the strings `stop`."""
    ends = [place for mark in stop if mark and (place := text.find(mark)) >= 0]
    return text[: min(ends)] if ends else text


def _after_last_line(block: str, prompt: str) -> str | None:
    """Return what follows the prompt's last line in `block`; None if it is not there."""
    wanted = "".join(prompt.rstrip().split("\n")[-1].split())
    lines = block.split("\n")
    for number, line in enumerate(lines):
        if wanted and "".join(line.split()) == wanted:
            return ("\n" if not prompt.endswith("\n") else "") + "\n".join(lines[number + 1 :])
    return None
