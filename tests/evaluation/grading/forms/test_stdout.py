"""Outputs as LiveCodeBench compares them; its rule, restated: strip, line by line, text or exact decimal numbers."""

import time

import pytest

from src.evaluation.grading.forms.stdout import difference


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        ("3\n", "3"),
        ("\n 3 \n\n", "3"),
        ("1 2\n3 4  ", "1 2\n3 4\n"),
        ("YES", "YES"),
        ("1.0 2", "1 2.00"),
        ("1e3", "1000"),
        ("1   2", "1 2"),
        ("-0", "0"),
        ("", "\n"),
        ("a  b", "a  b"),
        ("1\r\n2\r\n", "1\n2"),
    ],
)
def test_equal(got, expected):
    assert difference(got, expected) == ""


@pytest.mark.parametrize(
    ("got", "expected", "why"),
    [
        ("3", "4", "line 1"),
        ("1\n2", "1", "2 lines instead of 1"),
        ("1\n\n2", "1\n2", "3 lines instead of 2"),
        ("", "0", "line 1"),
        ("yes", "YES", "line 1"),
        ("a  b", "a b", "line 1"),  # words are compared as text
        ("0.30000000000000004", "0.3", "line 1"),
        ("50000000000000001", "50000000000000000", "line 1"),  # equal as floats
        ("nan", "NaN", "line 1"),
        ("sNaN", "1", "line 1"),
        ("1 2 3", "1 2", "line 1"),
        ("1\n2", "1\n3", "line 2"),
    ],
)
def test_different(got, expected, why):
    assert difference(got, expected).startswith(why)


def test_a_tolerance_counts_absolutely_and_relatively_and_only_for_numbers():
    assert difference("0.30000000000000004", "0.3", 1e-9) == ""
    assert difference("1000001", "1000000", 1e-5) == ""
    assert difference("1000011", "1000000", 1e-5) != ""
    assert difference("0.00002", "0", 1e-5) != ""
    assert difference("inf", "1e999", 1e-5) == ""  # both beyond the floats
    assert difference("x", "y", 1.0) != ""


def test_numbers_made_to_be_slow_are_not():
    started = time.monotonic()
    assert difference("1e999999999999", "1", 1e-9) != ""
    assert difference("9" * 2_000_000, "1") != ""
    assert difference(" ".join(["1e9"] * 200_000), " ".join(["1"] * 200_000)) != ""
    assert time.monotonic() - started < 2
