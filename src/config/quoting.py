"""Paths on the command line: put in Hydra's quotes where its grammar would read their characters as its own."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from src.utils.errors import UserError

PATH_KEYS = re.compile(
    r"\+*(base|checkpoint|verify|recipe|output|output_root|samples|predictions|references|contamination"
    r"|(specialists|variants)\.[^=]+|merge\.statistics\.[^=]+|strategy\.checkpoint|model\.(path|tokenizer))"
)
NEW = ("output", "output_root")  # need not exist yet
PLAIN = re.compile(r"[A-Za-z0-9_./+@-]*/[A-Za-z0-9_./+@-]*|[A-Za-z_.][A-Za-z0-9_.+@-]*")
QUOTES = ("'", '"')


def quoted(place: Path | str) -> str:
    """Quote a path or another text as the value of an override."""
    # a backslash is special only where it ends the text or precedes a quote
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + found[2].replace("'", "\\'"), str(place))
    return f"'{escaped}'"


def value_of(place: Path | str) -> str:
    """A path as the value of an override of ours: in quotes if Hydra's grammar would read it otherwise."""
    return str(place) if PLAIN.fullmatch(str(place)) else quoted(place)


def quote_path(argument: str) -> str:
    """Quote the path in an argument such as `base=runs/mix (2)`.

    Args:
        argument: As typed; anything but a path comes back unchanged, and so does a path without special characters.

    Raises:
        UserError: Hydra cannot read the value, and no such file or directory exists; the line shows the quoting.

    Example:
        >>> quote_path("output=runs/mix=(2)")
        "output='runs/mix=(2)'"
    """
    key, equals, value = argument.partition("=")
    if not equals or not PATH_KEYS.fullmatch(key) or not value or value.startswith(QUOTES) or "${" in value:
        return argument
    whole = f"{key}={quoted(value)}"
    try:
        parsed = OverridesParser.create().parse_override(argument)
        if not parsed.is_sweep_override() and parsed.value() == value:
            return argument
        readable = parsed.is_sweep_override() or not isinstance(parsed.value(), (dict, list))
    except HydraException:
        readable = False
    exists = Path(value).expanduser().exists()
    if exists or (key in NEW and not readable):
        return whole
    if readable:  # a sweep, null, a number
        return argument
    raise UserError(
        f"{argument}: no such file or directory; a value with special characters needs quotes for Hydra inside those "
        f"of the shell: {shlex.quote(whole)}"
    )
