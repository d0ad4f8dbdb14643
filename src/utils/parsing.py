"""Parse foreign Python source into a syntax tree."""

from __future__ import annotations

import ast
import warnings


def parse(source: str) -> ast.Module | None:
    """Parse source code without warnings; None if this interpreter cannot parse it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes, comparisons with literals, ...
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
