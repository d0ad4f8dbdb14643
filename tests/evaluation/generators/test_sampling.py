from __future__ import annotations

import pytest
import torch
from transformers import RepetitionPenaltyLogitsProcessor, TopKLogitsWarper, TopPLogitsWarper

from src.evaluation.generators.sampling import draw, penalise, uniforms


def test_penalty_by_hand() -> None:
    logits = torch.tensor([[2.0, -2.0, 3.0]])
    seen = torch.tensor([[True, True, False]])
    assert penalise(logits, seen, 2.0).tolist() == [[1.0, -4.0, 3.0]]


def test_penalty_equals_transformers() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 50, generator=generator)
    ids = torch.randint(0, 50, (4, 20), generator=generator)
    seen = torch.zeros(4, 50, dtype=torch.bool).scatter_(1, ids, True)
    assert torch.equal(penalise(logits, seen, 1.1), RepetitionPenaltyLogitsProcessor(1.1)(ids, logits))


def test_draw_inverts_the_cumulative_distribution() -> None:
    # probabilities 0.5, 0.3, 0.2 in the order of their tokens 1, 2, 0
    logits = torch.log(torch.tensor([[0.2, 0.5, 0.3]])).expand(5, 3)
    assert draw(logits, torch.tensor([0.0, 0.49, 0.51, 0.79, 0.81]), 1.0).tolist() == [1, 1, 2, 2, 0]


def test_top_k_and_top_p_cut_the_tail() -> None:
    logits = torch.log(torch.tensor([[0.2, 0.5, 0.3]]))
    late = torch.tensor([0.999999])
    assert draw(logits, late, 1.0).item() == 0
    assert draw(logits, late, 1.0, top_k=2).item() == 2
    assert draw(logits, late, 1.0, top_p=0.75).item() == 2
    assert draw(logits, late, 1.0, top_p=0.5).item() == 1
    assert draw(logits, late, 0.01).item() == 1


@pytest.mark.parametrize(
    ("top_k", "top_p", "temperature"), [(0, 1.0, 1.0), (7, 1.0, 0.7), (0, 0.8, 1.3), (9, 0.9, 0.8)]
)
def test_drawn_frequencies_equal_transformers_distribution(top_k: int, top_p: float, temperature: float) -> None:
    logits = torch.randn(1, 20, generator=torch.Generator().manual_seed(0)) * 1.5
    warped = logits / temperature
    if top_k:
        warped = TopKLogitsWarper(top_k)(None, warped)
    if top_p < 1:
        warped = TopPLogitsWarper(top_p)(None, warped)
    expected = torch.softmax(warped, -1)[0].double()
    grid = (torch.arange(100_000) + 0.5) / 100_000  # every quantile once: exact frequencies, no luck
    drawn = draw(logits.expand(100_000, 20), grid, temperature, top_k, top_p)
    frequencies = torch.bincount(drawn, minlength=20) / 100_000
    torch.testing.assert_close(frequencies.double(), expected, atol=2e-5, rtol=0)


def test_streams_belong_to_seed_prompt_and_index_alone() -> None:
    together = uniforms(3, [("a", 0), ("a", 1), ("b", 0)], 5)
    assert together.shape == (3, 5)
    assert torch.equal(uniforms(3, [("b", 0)], 5)[0], together[2])
    assert len({tuple(row.tolist()) for row in torch.cat([together, uniforms(4, [("a", 0)], 5)])}) == 4
    assert together.min() >= 0
    assert together.max() < 1
