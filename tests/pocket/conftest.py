"""Running generated code in tests: the code is our own, from our own generator."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest

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
