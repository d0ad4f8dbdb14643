"""Comparisons of tests that run in the program's process: what was unequal, and objects that equal everything."""

from __future__ import annotations

import unittest
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, FunctionType, MethodDescriptorType, WrapperDescriptorType
from typing import Any

SCANNED = 1000  # elements of compared values that are looked at


class Comparison:
    """Comparisons of the tests: they remember what was unequal, and refuse objects that equal everything."""

    def __init__(self, allows_any: bool) -> None:
        self.allows_any = allows_any
        self.unequal: tuple[Any, Any] | None = None

    def equal(self, left: Any, right: Any) -> Any:
        """Return `left == right`.

        Raises:
            AssertionError: One of them holds an object that equals everything.
        """
        self.unequal = None
        self._refuse(left, right)
        same = left == right
        if type(same).__name__ in ("bool", "bool_") and not same:  # Python's and numpy's
            self.unequal = left, right
        return same

    def guard(self, case: type[unittest.TestCase]) -> None:
        """Have the comparing assertions of unittest refuse objects that equal everything, too."""
        for name in [
            name for name in vars(case) if name.startswith("assert") and "Equal" in name and "Not" not in name
        ]:
            setattr(case, name, self._guarded(getattr(case, name)))

    def _guarded(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def assertion(case: Any, first: Any = None, second: Any = None, *more: Any, **options: Any) -> Any:
            self._refuse(first, second)
            return method(case, first, second, *more, **options)

        return assertion

    def _refuse(self, *values: Any) -> None:
        for value in values:
            for found in _parts(value):
                if self._equals_everything(found):
                    raise AssertionError(f"a {type(found).__name__} object equals everything")

    def _equals_everything(self, value: Any) -> bool:
        own = type(value).__eq__
        if isinstance(own, WrapperDescriptorType | MethodDescriptorType | BuiltinFunctionType):
            return False
        place = own.__code__.co_filename if isinstance(own, FunctionType) else ""
        if type(value).__module__ == "unittest.mock" and type(value).__name__ == "_ANY":
            return not self.allows_any
        if place.startswith(("/", "<tests ")):
            return False  # of an installed library, or of the tests
        try:
            return bool(value == object())
        except Exception:
            return False


def _parts(value: Any) -> Iterator[Any]:
    """Yield a value and what plain containers in it hold, up to `SCANNED`."""
    waiting, seen = [value], 0
    while waiting and seen < SCANNED:
        found = waiting.pop()
        seen += 1
        yield found
        if type(found) in (list, tuple, set, frozenset):
            waiting += list(found)[:SCANNED]
        elif type(found) is dict:
            waiting += [part for pair in list(found.items())[:SCANNED] for part in pair]
