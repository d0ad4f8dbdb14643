"""Watch over what tests rely on, since a program in the same process could replace it."""

from __future__ import annotations

import builtins
import sys
import unittest
from collections.abc import Iterator
from types import FunctionType
from typing import Any

# May be replaced: programs and tests do so for good reasons, and no comparison depends on them.
_FREE = {"open", "input", "print", "__import__", "exit", "quit", "copyright", "credits", "license", "help", "_"}


class Watch:
    """State of what tests rely on before the program ran: built-in names, pytest, unittest, and what they import.

    Args:
        modules: Names of modules that the tests import.
        assigned: Names that the tests themselves assign.
    """

    def __init__(self, modules: list[str], assigned: set[str]) -> None:
        self.modules = {name: module for name, module in sys.modules.items() if name != "solution"}
        relied_on = [(owner, name, value) for owner, name, value in _relied_on(modules) if name not in assigned]
        self.names = [(owner, name, value, _code(value)) for owner, name, value in relied_on]

    def changed(self) -> str:
        """Return the first name that has changed, or an empty text."""
        for name, module in self.modules.items():
            if sys.modules.get(name) is not module:
                return name
        missing = object()
        for owner, name, value, code in self.names:
            now = vars(owner).get(name, missing)
            if now is not value or _code(now) is not code:
                return f"{getattr(owner, '__name__', '')}.{name}"
        return ""


def _relied_on(modules: list[str]) -> Iterator[tuple[Any, str, Any]]:
    names = ["unittest", "unittest.case", "pytest", "_pytest.raises", "_pytest.python_api", *modules]
    owners = [builtins, unittest.TestCase, *(sys.modules[name] for name in names if name in sys.modules)]
    for owner in owners:
        for name, value in list(vars(owner).items()):
            kept = name not in _FREE if owner is builtins else callable(value) and not name.startswith("__")
            if kept:
                yield owner, name, value


def _code(value: Any) -> Any:
    return getattr(value, "__code__", None) if isinstance(value, FunctionType) else None
