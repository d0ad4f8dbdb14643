import pytest

from src.evaluation.preflight.choice_checks import coefficient_findings


@pytest.mark.parametrize(
    ("weights", "scale", "normalize", "severity"),
    [
        ({"a": 0.3, "b": 0.7}, 1.0, False, None),
        ({"a": 1.0, "b": 1.0}, 1.0, False, None),  # a plain sum of task vectors
        ({"a": 1.0, "b": 1.0}, 0.4, False, None),
        ({"a": 30.0, "b": -29.0}, 1.0, False, "caution"),  # merge.weight=30
        ({"a": 1.2, "b": -0.2}, 1.0, False, "caution"),  # merge.weight=1.2
        ({"a": 1.5, "b": 1.5}, 1.0, False, "note"),  # task arithmetic with a larger factor
        ({"a": 1.0, "b": -1.0}, 1.0, False, "note"),  # forgetting b
        ({"a": 3.0, "b": 7.0}, 1.0, True, None),  # divided by their sum
        ({"a": 3.0, "b": -1.0}, 1.0, True, "caution"),
        ({"a": 30.0, "b": 0.5}, 1.0, False, "caution"),
        ({"a": [0.2, 0.8], "b": [0.8, 0.2]}, 1.0, False, None),  # by layer
        ({"a": [0.2, 8.0], "b": [0.8, -7.0]}, 1.0, False, "caution"),
        ({"a": 0.5, "b": 0.5}, 30.0, False, "caution"),
        ({"a": 0.5, "b": 0.5}, 0.0, False, "caution"),
        ({"a": 0.5, "b": 0.5}, 2.0, False, None),
        ({"a": 0.5, "b": 0.5}, None, False, None),
    ],
)
def test_slips_are_told_from_intentions(weights, scale, normalize, severity):
    found = list(coefficient_findings("x", "task_arithmetic", weights, scale, normalize))
    assert [finding.severity for finding in found] == ([severity] if severity else [])
