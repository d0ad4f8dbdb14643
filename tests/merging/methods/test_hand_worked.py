"""TIES, DARE, DELLA and their relatives on numbers small enough for a pencil."""

from __future__ import annotations

import pytest
import torch

from src.merging.backend import torch_ops as ops_module
from src.merging.backend.combine import combine
from src.merging.backend.della_probabilities import keep_probabilities
from src.merging.methods.sparsify import Sparsity
from tests.merging.tools import sparsify


def test_ties() -> None:
    first = sparsify(torch.tensor([4.0, -1.0, 3.0, 0.5]), Sparsity("magnitude", 0.5))
    second = sparsify(torch.tensor([-2.0, -3.0, 1.0, 0.25]), Sparsity("magnitude", 0.5))
    assert first.tolist() == [4, 0, 3, 0]
    assert second.tolist() == [-2, -3, 0, 0]
    # weighted by 1/2: [2, 0, 1.5, 0] and [-1, -1.5, 0, 0]; elected +, -, +, +; survivors 2, -1.5, 1.5, none
    halves = (0.5, 0.5)
    assert combine([first, second], halves, True, normalize=False, lambda_=1.0).tolist() == [2, -1.5, 1.5, 0]
    assert combine([first, second], halves, True, normalize=True, lambda_=1.0).tolist() == [4, -3, 3, 0]
    assert combine([first, second], halves, True, normalize=True, lambda_=0.5).tolist() == [2, -1.5, 1.5, 0]
    # 0.2 * 4 < 0.8 * 2: the other sign wins the first element
    assert combine([first, second], (0.2, 0.8), True, True, 1.0).tolist() == pytest.approx([-2, -3, 3, 0])


def test_a_tie_elects_plus_and_zeros_never_vote() -> None:
    deltas = [torch.tensor([1.0, 0.0, 0.0]), torch.tensor([-1.0, -1.0, 0.0])]
    assert combine(deltas, (0.5, 0.5), True, normalize=False, lambda_=1.0).tolist() == [0.5, -0.5, 0.0]
    assert combine(deltas, (0.5, 0.5), True, normalize=True, lambda_=1.0).tolist() == [1.0, -1.0, 0.0]


def test_a_negative_weight_votes_the_other_way() -> None:
    deltas = [torch.tensor([1.0, 1.0]), torch.tensor([1.0, -3.0])]
    # weighted: [1, 1] and [-0.5, 1.5]
    assert combine(deltas, (1.0, -0.5), True, normalize=False, lambda_=1.0).tolist() == [1.0, 2.5]


def test_sum_and_its_normalization() -> None:
    deltas = [torch.tensor([1.0, -2.0]), torch.tensor([3.0, 4.0])]
    assert combine(deltas, (0.5, 0.25), False, normalize=False, lambda_=2.0).tolist() == [2.5, 0.0]
    assert combine(deltas, (1.0, 1.0), False, normalize=True, lambda_=1.0).tolist() == [2.0, 1.0]
    assert combine(deltas, (1.0, -1.0), False, normalize=True, lambda_=1.0).tolist() == [
        -2.0,
        -6.0,
    ]  # sum 0: not divided


def draws(monkeypatch: pytest.MonkeyPatch, values: list[float]) -> None:
    drawn = torch.tensor(values)
    monkeypatch.setattr(ops_module, "uniform", lambda seed, start, stop, device: drawn[start:stop])


@pytest.mark.parametrize(
    ("rescale", "expected"),
    [("none", [1, 0, 3, 0]), ("density", [4, 0, 12, 0]), ("l1", [2.5, 0, 7.5, 0])],  # 1/p = 4, 10/4 = 2.5
)
def test_dare(monkeypatch: pytest.MonkeyPatch, rescale: str, expected: list[float]) -> None:
    draws(monkeypatch, [0.1, 0.25, 0.2, 0.9])  # kept where below 0.25
    delta = torch.tensor([1.0, -2.0, 3.0, -4.0])
    assert sparsify(delta, Sparsity("bernoulli", 0.25, rescale=rescale)).tolist() == expected


def test_della_probabilities_by_row() -> None:
    delta = torch.tensor([[0.1, -0.4, 0.2, 0.3], [9.0, 8.0, -7.0, 6.0]])
    # ranks 0 3 1 2 and 3 2 1 0; 0.5 - 0.2 + 0.4 * rank / 3
    expected = [0.3, 0.7, 0.3 + 0.4 / 3, 0.3 + 0.8 / 3, 0.7, 0.3 + 0.8 / 3, 0.3 + 0.4 / 3, 0.3]
    assert keep_probabilities(delta.reshape(-1), 4, 0.5, 0.2).tolist() == pytest.approx(expected)


def test_della_ranks_equal_magnitudes_in_order_and_lone_elements_in_the_middle() -> None:
    assert keep_probabilities(torch.tensor([2.0, -2.0, 2.0]), 3, 0.5, 0.2).tolist() == pytest.approx([0.3, 0.5, 0.7])
    assert keep_probabilities(torch.tensor([2.0, 5.0]), 1, 0.5, 0.2).tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("rescale", "expected"),
    [("none", [0, -4, 2, 0]), ("density", [0, -4 / 0.7, 2 / 0.4333333, 0]), ("l1", [0, -20 / 3, 10 / 3, 0])],
)
def test_della(monkeypatch: pytest.MonkeyPatch, rescale: str, expected: list[float]) -> None:
    draws(monkeypatch, [0.3, 0.69, 0.43, 0.6])  # against 0.3, 0.7, 0.433, 0.567
    delta = torch.tensor([[1.0, -4.0, 2.0, 3.0]])
    result = sparsify(delta, Sparsity("magprune", 0.5, 0.2, rescale=rescale))
    assert result.reshape(-1).tolist() == pytest.approx(expected)


def test_breadcrumbs() -> None:
    delta = torch.tensor([10.0, -9.0, 8.0, -7.0, 6.0, -5.0, 4.0, -3.0, 2.0, -1.0])
    half = sparsify(delta, Sparsity("outliers", 0.5, gamma=0.2))
    assert half.tolist() == [0, 0, 8, -7, 6, -5, 4, 0, 0, 0]
    most = sparsify(delta, Sparsity("outliers", 0.9, gamma=0.2))  # only one place is left for outliers
    assert most.tolist() == [0, -9, 8, -7, 6, -5, 4, -3, 2, -1]
    assert sparsify(delta, Sparsity("outliers", 0.05, gamma=0.2)).tolist() == [0] * 10


def test_magnitude_keeps_at_least_one_and_the_first_of_those_that_tie() -> None:
    assert sparsify(torch.tensor([1.0, -3.0, 2.0]), Sparsity("magnitude", 0.1)).tolist() == [0, -3, 0]
    assert sparsify(torch.tensor([2.0, -2.0, 1.0, 2.0]), Sparsity("magnitude", 0.5)).tolist() == [2, -2, 0, 0]
    assert sparsify(torch.tensor([2.0, -2.0, 5.0, 2.0]), Sparsity("magnitude", 0.5)).tolist() == [2, 0, 5, 0]


def test_breadcrumbs_rank_ties_by_position() -> None:
    delta = torch.tensor([2.0, -2.0, 2.0, -2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    # ascending: the five ones, then the five twos; the last two are outliers, the five before them are kept
    assert sparsify(delta, Sparsity("outliers", 0.5, gamma=0.2)).tolist() == [2, -2, 2, 0, 0, 0, 0, 0, 1, 1]


def test_nothing_to_rescale() -> None:
    delta = torch.zeros(5)
    assert sparsify(delta, Sparsity("bernoulli", 0.5, rescale="l1")).tolist() == [0] * 5
