from __future__ import annotations

import math

import pytest
import torch
from transformers import RepetitionPenaltyLogitsProcessor, TopKLogitsWarper, TopPLogitsWarper

from src.evaluation.generators.sampling import draw, gumbel, keys, penalize


def test_penalty_by_hand() -> None:
    logits = torch.tensor([[2.0, -2.0, 3.0]])
    seen = torch.tensor([[True, True, False]])
    assert penalize(logits, seen, 2.0).tolist() == [[1.0, -4.0, 3.0]]


def test_penalty_equals_transformers() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 50, generator=generator)
    ids = torch.randint(0, 50, (4, 20), generator=generator)
    seen = torch.zeros(4, 50, dtype=torch.bool).scatter_(1, ids, True)
    assert torch.equal(penalize(logits, seen, 1.1), RepetitionPenaltyLogitsProcessor(1.1)(ids, logits))


def several_keys(count: int) -> torch.Tensor:
    return keys(0, [("prompt", 0)], count)[0]


def test_noise_is_standard_gumbel() -> None:
    noise = gumbel(several_keys(500), 1000)
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.006)
    assert noise.var().item() == pytest.approx(math.pi**2 / 6, abs=0.02)
    below = torch.stack([(noise < place).double().mean() for place in (-1.0, 0.0, 1.0, 3.0)])
    expected = torch.exp(-torch.exp(-torch.tensor([-1.0, 0.0, 1.0, 3.0], dtype=torch.float64)))
    torch.testing.assert_close(below, expected, atol=0.002, rtol=0)


def test_noise_of_neighboring_keys_and_tokens_is_unrelated() -> None:
    noise = gumbel(torch.arange(1000), 300)
    between_keys = torch.corrcoef(torch.stack([noise[:-1].flatten(), noise[1:].flatten()]))[0, 1]
    between_tokens = torch.corrcoef(torch.stack([noise[:, :-1].flatten(), noise[:, 1:].flatten()]))[0, 1]
    assert abs(between_keys) < 0.01
    assert abs(between_tokens) < 0.01


def test_top_k_and_top_p_cut_the_tail() -> None:
    logits = torch.log(torch.tensor([[0.2, 0.5, 0.3]])).expand(2000, 3)
    drawn = {options: set(draw(logits, several_keys(2000), *options).tolist()) for options in (
        (1.0, 0, 1.0), (1.0, 2, 1.0), (1.0, 100, 0.75), (1.0, 0, 0.75), (1.0, 0, 0.5), (0.01, 0, 1.0))}  # fmt: skip
    assert list(drawn.values()) == [{0, 1, 2}, {1, 2}, {1, 2}, {1, 2}, {1}, {1}]


def test_impossible_tokens_are_never_drawn() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf]]).expand(100, 3)
    assert set(draw(logits, several_keys(100), 1.0).tolist()) == {1}


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
    count = 50_000
    drawn = draw(logits.expand(count, 20), several_keys(count), temperature, top_k, top_p)
    frequencies = torch.bincount(drawn, minlength=20).double() / count
    assert torch.equal(frequencies > 0, expected > 0)
    deviation = (expected * (1 - expected) / count).sqrt()
    assert ((frequencies - expected).abs() <= 4 * deviation).all()


def test_rounding_of_logits_hardly_matters() -> None:
    """Logits of one row differ in the last bits from batch to batch; the token must not."""
    logits = torch.randn(20_000, 200, generator=torch.Generator().manual_seed(0)) * 3
    noise = torch.randn(20_000, 200, generator=torch.Generator().manual_seed(1)) * 1e-6
    changed = draw(logits, several_keys(20_000), 1.0) != draw(logits + noise, several_keys(20_000), 1.0)
    assert changed.sum() <= 2


def test_streams_belong_to_seed_prompt_and_index_alone() -> None:
    together = keys(3, [("a", 0), ("a", 1), ("b", 0)], 5)
    assert together.shape == (3, 5)
    assert torch.equal(keys(3, [("b", 0)], 5)[0], together[2])
    assert len({tuple(row.tolist()) for row in torch.cat([together, keys(4, [("a", 0)], 5)])}) == 4
    assert together.min() >= 0
    assert together.max() < 2**32
