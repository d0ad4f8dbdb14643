"""Other people's Python as a syntax tree."""

from __future__ import annotations

import ast
import warnings


def parse(source: str) -> ast.Module | None:
    """The tree of a source, or None where it is no Python that this interpreter reads; never a warning."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes, comparisons with literals, ...
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
