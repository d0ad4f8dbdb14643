import pytest

from src.config.ellipsis import expand_ellipsis
from src.utils.errors import UserError


def test_the_line_of_the_manual_gives_nine_exact_decimals():
    assert expand_ellipsis("merge.weight=0.1,0.2,...,0.9") == "merge.weight=0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("seed=0,1,...,4", "seed=0,1,2,3,4"),
        ("merge.weight=0.9,0.7,...,0.1", "merge.weight=0.9,0.7,0.5,0.3,0.1"),
        ("merge.density=0.05,0.10,...,0.20", "merge.density=0.05,0.10,0.15,0.20"),
        ("merge=ties,dare,della", "merge=ties,dare,della"),
        ("output=a...b", "output=a...b"),
        ("study.weights=[0.1,0.2,...,0.4]", "study.weights=[0.1,0.2,0.3,0.4]"),
    ],
)
def test_sequences(typed, meant):
    assert expand_ellipsis(typed) == meant


@pytest.mark.parametrize("typed", ["w=0.1,0.2,...,0.95", "w=a,b,...,c", "w=0.1,0.1,...,0.9", "w=0.1,0.2,...,0.05"])
def test_a_sequence_that_does_not_arrive_is_an_error(typed):
    with pytest.raises(UserError, match="w="):
        expand_ellipsis(typed)


def test_a_dangling_ellipsis_is_an_error():
    with pytest.raises(UserError, match="two numbers before it"):
        expand_ellipsis("w=0.1,...,0.9")


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("w=0,nan,...,1", "finite"),
        ("w=0,1,...,inf", "finite"),
        ("w=0,1,...,1e400", "more than 100000 steps"),
        ("w=0,1e-9,...,1", "more than 100000 steps"),
        ("w=0,0.1,...,1e9999999", "out of range"),
    ],
)
def test_numbers_that_no_sequence_reaches_are_an_error(typed, words):
    with pytest.raises(UserError, match=words):
        expand_ellipsis(typed)
