"""Numbers as text: one place, so that the tables, captions and Markdown of every report agree."""

from __future__ import annotations

from math import isnan

MISSING = "–"
MINUS = "−"


def score(value: float | None, decimals: int = 1) -> str:
    """A fraction 0-1 on the 0-100 scale.

    Example:
        >>> score(0.8417)
        '84.2'
    """
    return MISSING if value is None or isnan(value) else f"{100 * value:.{decimals}f}"


def interval(low: float | None, high: float | None, decimals: int = 1) -> str:
    """Two fractions 0-1 on the 0-100 scale; empty if either is missing.

    Example:
        >>> interval(0.79, 0.8894)
        '79.0–88.9'
    """
    if low is None or high is None or isnan(low) or isnan(high):
        return ""
    return f"{score(low, decimals)}–{score(high, decimals)}"


def signed(value: float | None, decimals: int = 1) -> str:
    """A number with its sign; a number that rounds to zero has none.

    Example:
        >>> signed(1.26), signed(-3.2), signed(-0.01)
        ('+1.3', '−3.2', '0.0')
    """
    if value is None or isnan(value):
        return MISSING
    text = f"{abs(value):.{decimals}f}"
    if not float(text):
        return text
    return ("+" if value > 0 else MINUS) + text


def plain(value: float, decimals: int = 2) -> str:
    """A number with a minus sign if it is negative; a number that rounds to zero has none.

    Example:
        >>> plain(0.3), plain(-0.144), plain(-0.001)
        ('0.30', '−0.14', '0.00')
    """
    return signed(value, decimals).removeprefix("+")


def change(percent: float | None) -> str:
    """A relative change in percent, with its sign."""
    return MISSING if percent is None or isnan(percent) else f"{signed(percent)}%"


def average_change(percent: float | None) -> str:
    """A model's average change in percent, to two decimals: averages of good merges differ by hundredths."""
    return MISSING if percent is None or isnan(percent) else f"{signed(percent, 2)}%"


def average_points(fraction: float | None) -> str:
    """A difference of two averages in points of percent, with its sign and the decimals of the averages."""
    return signed(None if fraction is None else 100 * fraction, 2)


def p_value(p: float | None) -> str:
    """A p-value to two digits, or `<0.001`."""
    if p is None or isnan(p):
        return MISSING
    return "<0.001" if p < 0.001 else f"{p:.2g}" if p < 0.095 else f"{p:.2f}"


def coefficient(weight: object) -> str:
    """A merge coefficient without trailing zeros; labels such as `".3/.5/.2"` pass through."""
    if isinstance(weight, int | float):
        return MISSING if isnan(weight) else f"{weight:.10g}"
    return MISSING if weight is None else str(weight)


def significant(value: float, digits: int = 3) -> str:
    """A plain quantity to some significant digits, zeros kept.

    Example:
        >>> significant(12.999), significant(0.0421), significant(431.2)
        ('13.0', '0.0421', '431')
    """
    return MISSING if isnan(value) else f"{value:#.{digits}g}".rstrip(".")


def count(value: float) -> str:
    """A count with a metric suffix: `950`, `12.3 k`, `1.25 M`, `2.1 G`."""
    return _scaled(value, 1000.0, ("", " k", " M", " G", " T"))


def size(n_bytes: float) -> str:
    """A number of bytes: `3.4 MB`."""
    return _scaled(n_bytes, 1000.0, (" B", " kB", " MB", " GB", " TB"))


def duration(seconds: float) -> str:
    """A time: `0.4 s`, `41 s`, `3 min 20 s`, `2 h 5 min`."""
    if isnan(seconds):
        return MISSING
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def visible(text: str) -> str:
    r"""A text of unknown origin, with what a terminal or a page would obey or hide as escapes.

    Example:
        >>> visible("a\x1b[2J\u202eb")
        'a\\x1b[2J\\u202eb'
    """
    return "".join(char if char.isprintable() or char in "\n\t" else repr(char)[1:-1] for char in text)


def _scaled(value: float, step: float, suffixes: tuple[str, ...]) -> str:
    if isnan(value):
        return MISSING
    for suffix in suffixes:
        if abs(value) < step * (1 - 5e-4) or suffix == suffixes[-1]:
            break
        value /= step
    digits = f"{value:.0f}" if suffix == suffixes[0] else f"{value:.3g}"
    return digits + suffix
