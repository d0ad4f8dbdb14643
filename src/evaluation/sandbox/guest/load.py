"""Load a program: compile the first of its texts that compiles, run its top level, and describe what goes wrong."""

from __future__ import annotations

from typing import Any

DESCRIPTION_CHARACTERS = 200
COMPILER_LIMITS = ("null byte", "too many nested parentheses", "too many statically nested blocks")


class NothingCompiles(Exception):
    """None of a program's texts is Python; holds the error of the first."""


def run_top_level(candidates: list[str], namespace: dict[str, Any]) -> None:
    """Run the program's top level in `namespace`.

    Raises:
        NothingCompiles: None of the candidates is Python.
    """
    exec(_compile(candidates), namespace)


def _compile(candidates: list[str]) -> Any:
    """Compile the first candidate that compiles; if none does, raise the error of the first.

    `NothingCompiles` means that the first is no Python text. One that exceeds a limit of the compiler, or holds bytes
    that it refuses, is a program that does not run.
    """
    errors: list[BaseException] = []
    for text in candidates:
        try:
            return compile(text, "<string>", "exec", dont_inherit=True)
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            errors.append(error)
    if isinstance(errors[0], SyntaxError) and not any(words in str(errors[0]) for words in COMPILER_LIMITS):
        raise NothingCompiles(errors[0])
    raise errors[0]


def describe(error: BaseException) -> str:
    """Return an exception's type and message, shortened."""
    try:
        text = f"{type(error).__name__}: {error}"
    except BaseException:
        text = "an exception that cannot be printed"
    return text[:DESCRIPTION_CHARACTERS]
