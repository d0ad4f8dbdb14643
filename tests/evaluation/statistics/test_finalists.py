import numpy as np
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


def test_a_race_is_never_worse_than_full_generation_by_more_than_its_noise() -> None:
    """300 studies of 40 points: losses predict the averages to 1.5 points, generation on validation data to 2.5 points.

    The regret is that of the race's point against the one that generating for all points chooses, in true averages; its
    noise is the standard error of their difference.
    """
    generator = np.random.default_rng(0)
    methods = {f"{method} {number}": method for method in "abcd" for number in range(10)}
    names, error = list(methods), 2.5
    regrets = []
    for _ in range(300):
        true = dict(zip(names, -5 * np.abs(generator.normal(size=40)), strict=True))
        generated = {name: value + error * generator.normal() for name, value in true.items()}
        ranked = sorted(names, key=lambda name: -(true[name] + 1.5 * generator.normal()))
        raced = max(finalists(ranked, methods, 15), key=lambda name: generated[name])
        full = max(names, key=lambda name: generated[name])
        regrets.append(true[full] - true[raced])
    noise = error * 2**0.5
    assert np.mean(regrets) <= 0.1  # choosing among fewer, better points is no worse on average
    assert np.max(regrets) <= 2 * noise
    assert np.quantile(regrets, 0.95) <= noise
