"""The one exception for the user's mistakes."""

from __future__ import annotations


class UserError(ValueError):
    """Bad input: the scripts print its message as one clear line and exit with code 2.

    The message says what was expected, what came, and which config key or command mends it. Our own mistakes are
    `assert`s and ordinary exceptions instead, and keep their traceback.
    """


class Stopped(UserError):
    """A run that could not go on, e.g. for a full disk: unlike after other bad input, what it has written is kept.

    Args:
        message: The one line.
        own: Whether it is about this process alone: then it says so itself, else the first process does for all.
    """

    def __init__(self, message: str, own: bool = False) -> None:
        super().__init__(message)
        self.own = own


class Interrupted(BaseException):
    """The process was asked to end (Ctrl-C, SIGTERM); what is written is kept, and the same command goes on from there.

    Args:
        number: Of the signal.
        told: Whether another process has told the user.
    """

    def __init__(self, number: int, told: bool = False) -> None:
        super().__init__(number)
        self.number, self.told = number, told


class AlreadyTold(UserError):
    """Another process has printed its one line; this one ends with the same exit code and says no more."""


def first_differences(label: str, differences: list[str], limit: int = 5) -> str:
    """`label: a; b; c (and 7 more)`, the form in which every mismatch is reported."""
    shown = "; ".join(differences[:limit])
    rest = len(differences) - limit
    return f"{label}: {shown}" + (f" (and {rest} more)" if rest > 0 else "")


def unknown_choice(what: str, got: str, choices: list[str]) -> UserError:
    """An error for an unknown name that lists the choices and the nearest one."""
    from difflib import get_close_matches

    near = get_close_matches(got, choices, n=1)
    hint = f", did you mean {near[0]!r}?" if near else "."
    return UserError(f"unknown {what} {got!r}{hint} Available: {', '.join(sorted(choices))}")
