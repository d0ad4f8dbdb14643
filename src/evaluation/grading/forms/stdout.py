"""Comparison of what a program printed with what it should print, by LiveCodeBench's rule (arXiv 2403.07974)."""

from __future__ import annotations

import math
from decimal import Decimal, InvalidOperation


def difference(got: str, expected: str, tolerance: float = 0.0) -> str:
    """Return the first difference of two outputs; empty if they count as equal.

    Both are stripped and must have equally many lines. Two lines, stripped, are equal as text, or as numbers: then
    their parts between white space are all numbers, of exactly equal value, so that `1.0` is `1` and `1e3` is `1000`.

    Args:
        got: Output of the program.
        expected: Right output.
        tolerance: Numbers may differ by this much, absolutely or relative to the expected one (LiveCodeBench: 0).
    """
    mine, right = got.strip().split("\n"), expected.strip().split("\n")
    if len(mine) != len(right):
        return f"{len(mine)} lines instead of {len(right)}"
    for number, (line, wanted) in enumerate(zip(mine, right, strict=True), 1):
        line, wanted = line.strip(), wanted.strip()
        if line != wanted and not _equal_numbers(line.split(), wanted.split(), tolerance):
            return f"line {number} differs"
    return ""


def _equal_numbers(got: list[str], expected: list[str], tolerance: float) -> bool:
    if len(got) != len(expected):
        return False
    try:
        return all(_equal(Decimal(one), Decimal(other), tolerance) for one, other in zip(got, expected, strict=True))
    except (InvalidOperation, ValueError, OverflowError):  # a word, or a signaling NaN
        return False


def _equal(got: Decimal, expected: Decimal, tolerance: float) -> bool:
    if got == expected:
        return True
    return tolerance > 0 and math.isclose(
        float(got), float(expected), rel_tol=0, abs_tol=tolerance * max(1.0, abs(float(expected)))
    )
