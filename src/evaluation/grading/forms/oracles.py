"""Comparison of outputs by the rules of EvalPlus 0.3.1, outside the untrusted program's process."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import numpy as np
from evalplus.eval._special_oracle import MBPP_OUTPUT_NOT_NONE_TASKS, MBPP_OUTPUT_SET_EQ_TASKS

from src.evaluation.grading.forms.problems import Problem
from src.evaluation.sandbox.decode import Undecodable, refuse_collisions

FLOAT_ATOL = 1e-6  # `atol` after the first expected float of a suite
RTOL = 1e-7
LARGEST_ARRAY = 1 << 22  # elements; the largest output that is kept whole has fewer than 2 million floats


class Oracle:
    """Comparison rule of one problem."""

    def __init__(self, problem: Problem) -> None:
        mbpp = problem.dataset == "mbpp"
        name = problem.entry_point
        self.atol = problem.atol
        special = {"humaneval": name == "find_zero", "mbpp": name != "find_zero"}
        self.name = name if special.get(problem.dataset, False) else ""
        self.only_not_none = mbpp and name in MBPP_OUTPUT_NOT_NONE_TASKS
        self.as_sets = mbpp and name in MBPP_OUTPUT_SET_EQ_TASKS

    @property
    def equal_is_right(self) -> bool:
        """True if an output equal to the expected one is correct without any other check."""
        return self.name != "find_zero" and not self.only_not_none

    def is_right(self, arguments: Any, output: Any, expected: Any, floats_before: bool, floats: bool) -> bool:
        """Return True if an output is correct.

        Args:
            arguments: Arguments of the call.
            output: Output of the program, rebuilt from its bytes.
            expected: Output of the reference solution (for "not None" problems: True if it returned something).
            floats_before: An earlier expected output of the same suite consisted of floats.
            floats: Such an output came earlier, or `expected` is one.
        """
        before = self.atol or (FLOAT_ATOL if floats_before else 0.0)
        after = self.atol or (FLOAT_ATOL if floats else 0.0)
        try:
            with np.errstate(all="ignore"):
                if self.name == "find_zero":
                    [coefficients] = arguments
                    return bool(abs(_polynomial(coefficients, output)) <= before)
                exact = self._exact(arguments, output, expected, before)
                return True if exact else after != 0 and _close(output, expected, after)
        except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError, MemoryError):
            return False  # in EvalPlus, an output that cannot be compared is wrong
        except Undecodable:
            return False

    def _exact(self, arguments: Any, output: Any, expected: Any, atol: float) -> bool:
        if self.only_not_none:
            return bool(output == expected if isinstance(output, bool) else expected == (output is not None))
        if self.as_sets:
            refuse_collisions(output)
            return set(output) == set(expected)
        if self.name == "are_equivalent":
            return True
        equal = output == expected
        if self.name == "sum_div":
            return bool(equal or output == 0)
        if self.name == "surface_Area":
            return bool(equal or abs(output - _pyramid_surface(*arguments)) <= atol)
        if self.name == "digit_distance_nums":
            return bool(equal or output == _digit_distance(*arguments))
        return bool(equal)


def is_floats(body: bytes) -> bool:
    """Apply EvalPlus's `is_floats` to marshal bytes: True for a float, and for a non-empty list or tuple of floats."""
    if body[:1] == b"g":
        return True
    count = int.from_bytes(body[1:5], "little")
    return body[:1] in b"[(" and count > 0 and len(body) == 5 + 9 * count and body[5::9] == b"g" * count


def _close(output: Any, expected: Any, atol: float) -> bool:
    if type(output) is not type(expected):
        return False
    if isinstance(expected, list | tuple) and len(output) != len(expected):
        return False
    if max(_numbers(output), _numbers(expected)) > LARGEST_ARRAY:
        return False
    first, second = np.asarray(output), np.asarray(expected)
    # Broadcasting an n x 1 output against n numbers would allocate n * n of them.
    if math.prod(np.broadcast_shapes(first.shape, second.shape)) > min(LARGEST_ARRAY, 4 * (first.size + second.size)):
        return False
    if bool(first.size) != bool(second.size):  # numpy: none of no numbers differs, so `[[]]` would be close to `[1.5]`
        return False
    return bool(np.allclose(first, second, rtol=RTOL, atol=atol))


def _numbers(value: Any) -> float:
    """Count the elements of the array that numpy would make of `value`: infinite with text, which is close to nothing.

    Of n short texts and one long one, numpy would make n long ones; a range takes no memory before it is an array.
    """
    if isinstance(value, str | bytes | bytearray):
        return math.inf
    if isinstance(value, np.ndarray):
        return value.size if value.dtype.kind not in "US" else math.inf
    if isinstance(value, range):
        return len(value)
    return sum(map(_numbers, value)) if isinstance(value, list | tuple | deque) else 1


def _polynomial(coefficients: list[float], x: float) -> float:
    return sum(coefficient * math.pow(x, power) for power, coefficient in enumerate(coefficients))


def _pyramid_surface(base_edge: float, height: float) -> int:
    """Mbpp/581 with `height` as the distance from base to apex."""
    slant = math.sqrt((base_edge / 2) ** 2 + height**2)
    return round(base_edge**2 + 2 * base_edge * slant)


def _digit_distance(first: int, second: int) -> int:
    """Mbpp/558 on numbers padded to equal length."""
    width = max(len(str(first)), len(str(second)))
    pairs = zip(str(first).zfill(width), str(second).zfill(width), strict=True)
    return sum(abs(int(a) - int(b)) for a, b in pairs)
