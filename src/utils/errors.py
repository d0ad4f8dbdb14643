"""Exceptions that end a script with one clear line, and the format of that line."""

from __future__ import annotations

from collections.abc import Iterable


class UserError(ValueError):
    """Bad input: the scripts print its message as one clear line and exit with code 2.

    The message says what was expected, what was given, and which config key or command fixes it. Our own mistakes are
    `assert`s and ordinary exceptions, which keep their traceback.
    """


class Stopped(UserError):
    """A run cannot continue, for example because the disk is full; unlike with other bad input, its work is kept.

    Args:
        message: The line to print.
        own: True if only this process stops: it prints the line itself. Otherwise the first process prints it for all.
    """

    def __init__(self, message: str, own: bool = False) -> None:
        super().__init__(message)
        self.own = own


class Interrupted(BaseException):
    """A request to stop (Ctrl-C, SIGTERM). Written files are kept, and the same command resumes from them.

    Args:
        number: Signal number.
        told: True if another process has already informed the user.
    """

    def __init__(self, number: int, told: bool = False) -> None:
        super().__init__(number)
        self.number, self.told = number, told


class AlreadyTold(UserError):
    """An error that another process has already printed; this one exits with the same code and prints nothing."""


def raise_first(errors: Iterable[UserError]) -> None:
    """Raise the first of `errors`, if there is one; the others are not computed."""
    for error in errors:
        raise error


def reason_of(error: BaseException) -> str:
    """The first line of an error's message, or its type, to be quoted in a sentence."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def first_differences(label: str, differences: list[str], limit: int = 5) -> str:
    """Format a mismatch as `label: a; b; c (and 7 more)`."""
    shown = "; ".join(differences[:limit])
    rest = len(differences) - limit
    return f"{label}: {shown}" + (f" (and {rest} more)" if rest > 0 else "")


def unknown_choice(what: str, got: str, choices: list[str]) -> UserError:
    """Build the error for an unknown name: it lists the choices and suggests the closest one."""
    from difflib import get_close_matches

    near = get_close_matches(got, choices, n=1)
    hint = f", did you mean {near[0]!r}?" if near else "."
    return UserError(f"unknown {what} {got!r}{hint} Available: {', '.join(sorted(choices))}")


def printable(text: str) -> str:
    """Replace control characters, which foreign files could send to the terminal, except for line breaks and tabs."""
    return "".join(one if one.isprintable() or one in "\n\t" else repr(one)[1:-1] for one in text)
