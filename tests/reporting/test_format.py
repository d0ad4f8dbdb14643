import doctest

import pytest

from src.reporting import format as fmt
from src.reporting import pages, papers

NAN = float("nan")


@pytest.mark.parametrize("module", [fmt, pages, papers])
def test_examples_of_the_docstrings(module):
    result = doctest.testmod(module)
    assert result.failed == 0
    assert result.attempted > 0


@pytest.mark.parametrize(
    ("percent", "text"),
    [(1.26, "+1.3%"), (-3.24, "−3.2%"), (0.04, "0.0%"), (-0.04, "0.0%"), (None, "–"), (NAN, "–")],
)
def test_change(percent, text):
    assert fmt.change(percent) == text


@pytest.mark.parametrize(("fraction", "text"), [(0.061234, "+6.12"), (-0.012, "−1.20"), (0.0, "0.00"), (None, "–")])
def test_averages_have_two_decimals_alone_and_as_differences(fraction, text):
    assert fmt.average_points(fraction) == text
    percent = None if fraction is None else 100 * fraction
    assert fmt.average_change(percent) == (text if percent is None else f"{text}%")


@pytest.mark.parametrize(("low", "high", "text"), [(0.1, 0.25, "10.0–25.0"), (None, 0.2, ""), (0.1, NAN, "")])
def test_interval(low, high, text):
    assert fmt.interval(low, high) == text


def test_interval_takes_the_decimals_of_its_score():
    assert fmt.score(0.04951, 2) == "4.95"
    assert fmt.interval(0.04951, 0.05, 2) == "4.95–5.00"


@pytest.mark.parametrize(
    ("p", "text"), [(0.0002, "<0.001"), (0.0114, "0.011"), (0.21, "0.21"), (1.0, "1.00"), (None, "–"), (NAN, "–")]
)
def test_p_value(p, text):
    assert fmt.p_value(p) == text


@pytest.mark.parametrize(
    ("weight", "text"), [(0.3, "0.3"), (1.0, "1"), (1 - 0.9, "0.1"), (".3/.5/.2", ".3/.5/.2"), (None, "–"), (NAN, "–")]
)
def test_coefficient(weight, text):
    assert fmt.coefficient(weight) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (950, "950"), (12_345, "12.3 k"), (2_400_000, "2.4 M"), (999_999, "1 M"), (2.1e12, "2.1 T"), (NAN, "–")],
)
def test_count(value, text):
    assert fmt.count(value) == text


@pytest.mark.parametrize(
    ("n_bytes", "text"), [(512, "512 B"), (3_800_000, "3.8 MB"), (15.2e9, "15.2 GB"), (5e15, "5e+03 TB")]
)
def test_size(n_bytes, text):
    assert fmt.size(n_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.42, "0.4 s"),
        (38.2, "38 s"),
        (59.7, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (7199, "2 h"),
        (NAN, "–"),
    ],
)
def test_duration(seconds, text):
    assert fmt.duration(seconds) == text
