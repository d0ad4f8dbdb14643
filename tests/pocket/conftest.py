"""Fixtures for tests of generated programs: running them (the code is our own), and operators by name."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pytest

Operator = TypeVar("Operator")
Run = Callable[[str, str, Sequence[list[Any]]], list[Any]]


@pytest.fixture
def run() -> Run:
    """Call a function of a program's source on argument lists; an exception is its result."""

    def call(source: str, name: str, inputs: Sequence[list[Any]]) -> list[Any]:
        namespace: dict[str, Any] = {}
        exec(source, namespace)
        return [_outcome(namespace[name], arguments) for arguments in inputs]

    return call


def _outcome(function: Callable[..., Any], arguments: list[Any]) -> Any:
    try:
        return function(*copy.deepcopy(arguments))
    except Exception as error:
        return type(error).__name__


def named(groups: Sequence[Sequence[Operator]], key: str) -> Operator:
    """The operator of a catalog with this key."""
    (found,) = [operator for group in groups for operator in group if operator.key == key]  # type: ignore[attr-defined]
    return found
