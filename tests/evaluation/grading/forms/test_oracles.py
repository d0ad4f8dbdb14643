"""EvalPlus's comparison rules, by hand-worked cases."""

from __future__ import annotations

import marshal
from typing import Any

import numpy as np
import pytest

from src.evaluation.grading.forms.oracles import Oracle, is_floats
from src.evaluation.grading.forms.problems import Problem
from src.evaluation.sandbox.decode import Opaque


def oracle(task_id: str = "T/0", entry_point: str = "f", atol: float = 0.0) -> Oracle:
    return Oracle(Problem(task_id, "", entry_point, "", [], [], atol))


def right(rule: Oracle, output: Any, expected: Any, arguments: Any = (), before: bool = False) -> bool:
    floats = before or is_floats(marshal.dumps(expected, 2) if not isinstance(expected, np.generic) else b"")
    return rule.is_right(arguments, output, expected, before, floats)


@pytest.mark.parametrize(
    ("output", "expected", "verdict"),
    [
        (1, 1, True),
        (1, 1.0, True),
        (True, 1, True),
        ("a", "a", True),
        ([1, 2], (1, 2), False),
        ((1, 2), (1, 2), True),
        ([1, 2], [1, 2, 3], False),
        ({1, 2}, {2, 1}, True),
        ({"a": 1}, {"a": 1}, True),
        (None, None, True),
        (None, 0, False),
        # floats: relative 1e-7 and absolute 1e-6, of one type
        (1.0 + 9e-7, 1.0, True),
        (1.0 + 2e-6, 1.0, False),
        (1e9 + 50, 1e9, True),
        (1e9 + 200, 1e9, False),
        (1, 1.0000001, False),
        (np.float64(1.0), 1.0, True),
        (np.float64(1.0000001), 1.0, False),
        ([0.1 + 0.2, 1.0], [0.3, 1.0], True),
        ((0.1 + 0.2,), [0.3], False),
        ([0.1 + 0.2, 1.0], [0.3], False),
        ([0.30000001, 1], [0.3, 1.0], True),
        # a list that is not all floats is compared exactly
        ([0.1 + 0.2, 1], [0.3, 1], False),
        (0.1 + 0.2, 0.3, True),
        (float("nan"), float("nan"), False),
        (float("inf"), float("inf"), True),
        # numpy against plain values: EvalPlus asks `==`, whose answer must be one truth value
        (np.array([1, 2]), [1, 2], False),
        (np.array([1]), [1], True),
        (np.int64(3), 3, True),
        (Opaque("generator"), [1], False),
        ([Opaque("x")], [1.5], False),
        ("abc", 1.5, False),
        ([[1.0], [2.0]], [1.0, 2.0], False),
    ],
    ids=str,
)
def test_default_rule(output: Any, expected: Any, verdict: bool) -> None:
    assert right(oracle(), output, expected) is verdict


def test_a_float_makes_the_rest_of_its_suite_tolerant() -> None:
    """EvalPlus changes `atol` where it first meets a float, and never back."""
    assert not right(oracle(), [0.1 + 0.2, 1], [0.3, 1])
    assert right(oracle(), [0.1 + 0.2, 1], [0.3, 1], before=True)


def test_tolerance_of_the_task() -> None:
    assert right(oracle(atol=0.01), 1.009, 1.0)
    assert not right(oracle(atol=0.01), 1.011, 1.0)
    assert right(oracle(atol=0.01), [1, 2], [1, 2])
    assert not right(oracle(atol=0.01), "a", "b")


def test_broadcasting_is_not_a_way_to_fill_the_memory() -> None:
    numbers = [float(number) for number in range(30_000)]
    assert not right(oracle(), [[number] for number in numbers], numbers)


@pytest.mark.parametrize("count", [2, 3])
def test_small_broadcasts_are_judged_as_evalplus_does(count: int) -> None:
    assert right(oracle(), [[1.0] * count] * count, [1.0] * count)


def test_an_output_without_numbers_is_close_to_none() -> None:
    """EvalPlus 0.3.1 passes it: types and lengths are equal, and of no numbers, none differs. Here it is wrong."""
    assert np.allclose([[]], [1.5], rtol=1e-7, atol=1e-6)
    assert not right(oracle(), [[]], [1.5])
    assert not right(oracle(atol=0.01), [[]], [1])
    assert not right(oracle(), [[], []], [1.5, 2.5])
    assert right(oracle(), [[1.5]], [1.5])
    assert right(oracle(), [[]], [[]], before=True)


def test_find_zero() -> None:
    """Any zero of the polynomial will do: x^2 - 1 has two."""
    rule = oracle("HumanEval/32", "find_zero", 1e-4)
    coefficients = [[-1.0, 0.0, 1.0]]
    assert right(rule, 1.0, -1.0, coefficients)
    assert right(rule, -1.00001, 1.0, coefficients)
    assert not right(rule, 1.001, 1.0, coefficients)
    assert not right(rule, None, 1.0, coefficients)
    assert not right(rule, "1.0", 1.0, coefficients)
    assert not right(rule, 10**400, 1.0, coefficients)
    assert not rule.equal_is_right
    assert oracle("Other/32", "find_zero").equal_is_right


@pytest.mark.parametrize(
    "name",
    [
        "similar_elements", "find_char_long", "common_in_nested_lists", "extract_singly", "larg_nnum",
        "intersection_array", "find_dissimilar", "Diff",
    ],
)  # fmt: skip
def test_set_equality_tasks(name: str) -> None:
    rule = oracle("Mbpp/2", name)
    assert right(rule, [2, 1, 1], (1, 2))
    assert right(rule, {1, 2}, [1, 2])
    assert not right(rule, [1], [1, 2])
    assert not right(rule, [[1]], [[1]])  # cannot be a set
    assert not right(rule, None, [1])
    assert not right(oracle("Other/2", name), [2, 1], [1, 2])


@pytest.mark.parametrize("name", ["check_str", "text_match_three", "text_starta_endb"])
def test_not_none_tasks(name: str) -> None:
    """`expected` is whether the reference returned anything."""
    rule = oracle("Mbpp/737", name)
    assert right(rule, Opaque("Match"), True)
    assert right(rule, None, False)
    assert right(rule, True, True)
    assert right(rule, False, False)
    assert not right(rule, False, True)
    assert not right(rule, None, True)
    assert not right(rule, "x", False)
    assert not rule.equal_is_right


def test_single_special_tasks() -> None:
    assert right(oracle("Mbpp/164", "are_equivalent"), "anything", True)
    assert right(oracle("Mbpp/295", "sum_div"), 0, 5)
    assert not right(oracle("Mbpp/295", "sum_div"), 1, 5)
    # base 3, height 4: slant sqrt(1.5^2 + 4^2) = 4.272, 9 + 2 * 3 * 4.272 = 34.63
    assert right(oracle("Mbpp/581", "surface_Area"), 35, 33, (3, 4))
    assert not right(oracle("Mbpp/581", "surface_Area"), 34, 33, (3, 4))
    # 9 against 120 with leading zeros: |0-1| + |0-2| + |9-0| = 12
    assert right(oracle("Mbpp/558", "digit_distance_nums"), 12, 3, (9, 120))
    assert not right(oracle("Mbpp/558", "digit_distance_nums"), 11, 3, (9, 120))


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (1.0, True), (1, False), ([], False), ((), False), ([1.0, 2.0], True), ((1.0,), True), ([1.0, 2], False),
        ([2, 1.0], False), ({1.0}, False), ("g", False), (None, False), ([[1.0]], False),
    ],
)  # fmt: skip
def test_is_floats(value: Any, verdict: bool) -> None:
    from evalplus.eval import is_floats as reference

    assert is_floats(marshal.dumps(value, 2)) is verdict
    assert reference(value) is verdict or value in ([], ())


def test_special_oracles_equal_evalplus() -> None:
    from evalplus.eval import _special_oracle as theirs

    from src.evaluation.grading.forms import oracles as ours

    for pair in [(3, 4), (10, 1), (7, 7.5), (1, 2)]:
        assert ours._pyramid_surface(*pair) == theirs._surface_Area(*pair)
    for pair in [(9, 120), (1, 2), (23, 56), (0, 99999)]:
        assert ours._digit_distance(*pair) == theirs._digit_distance_nums(*pair)
    assert ours._polynomial([1, 2, 3], 0.5) == theirs._poly([1, 2, 3], 0.5)
