from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from src.config.types import check_types, hints_of
from src.utils.errors import UserError


@dataclass
class Options:
    steps: int | None
    rate: float = 1.0
    fast: bool = False
    name: str = ""
    table: Mapping[str, Any] | None = None
    weights: Sequence[float] = ()
    pair: tuple[float, float] = (0, 0)
    steps_or_all: tuple[str, ...] | str = "all"
    anything: Callable[..., Any] | None = None


def complaint(values: dict[str, Any]) -> str:
    try:
        check_types(values, hints_of(Options), "node.{}".format)
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "values",
    [
        {"steps": None},
        {"steps": 3},
        {"rate": 2},
        {"rate": 2.5, "fast": True, "name": "x"},
        {"table": {"a": 1}},
        {"weights": [1, 0.5]},
        {"pair": [0.9, 0.99]},
        {"steps_or_all": ["q"]},
        {"steps_or_all": "all"},
        {"anything": {"_target_": "x", "_partial_": True}},
        {"other": 1},
    ],
)
def test_what_fits(values: dict[str, Any]) -> None:
    assert complaint(values) == ""


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"steps": "many"}, "node.steps must be an integer or null, got 'many'"),
        ({"steps": 2.5}, "node.steps must be an integer or null, got 2.5"),
        ({"steps": True}, "node.steps must be an integer or null, got True"),
        ({"rate": "fast"}, "node.rate must be a number, got 'fast'"),
        ({"rate": None}, "node.rate must be a number, got None"),
        ({"fast": 1}, "node.fast must be true or false, got 1"),
        ({"name": 4}, "node.name must be a string, got 4"),
        ({"weights": 3}, "node.weights must be a list, got 3"),
        ({"weights": [0.5, "a"]}, "node.weights.1 must be a number, got 'a'"),
        ({"table": [1]}, "node.table must be a mapping, as in {name: value} or null, got [1]"),
        ({"steps_or_all": 3}, "node.steps_or_all must be a list or a string, got 3"),
    ],
)
def test_what_does_not(values: dict[str, Any], words: str) -> None:
    assert complaint(values) == words


def test_functions_are_checked_too() -> None:
    def function(count: int, *more: Any, **keys: Any) -> None: ...

    with pytest.raises(UserError, match="count must be an integer, got 'x'"):
        check_types({"count": "x"}, hints_of(function), "{}".format)
    assert hints_of(len) == {}
