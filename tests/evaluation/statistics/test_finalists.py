import pytest

from src.evaluation.statistics.finalists import finalists

METHODS = {"a1": "a", "a2": "a", "a3": "a", "b1": "b", "b2": "b", "c1": "c"}
RANKED = ["a1", "a2", "b1", "a3", "b2", "c1"]


@pytest.mark.parametrize(
    ("generations", "expected"),
    [
        (0, ["a1", "b1", "c1"]),
        (3, ["a1", "b1", "c1"]),
        (4, ["a1", "a2", "b1", "c1"]),
        (5, ["a1", "a2", "b1", "a3", "c1"]),
        (9, RANKED),
    ],
)
def test_each_method_keeps_its_best_and_the_rest_is_by_rank(generations, expected):
    assert finalists(RANKED, METHODS, generations) == expected
