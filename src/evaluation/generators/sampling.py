"""Choose the next token. Shapes: B rows, V vocabulary, T new tokens.

Sampling adds Gumbel noise to the logits and takes the largest sum. Unlike inverting the cumulative distribution, this
is insensitive to the last bits of the logits, which depend on the composition of the batch: a token changes only if the
two largest sums are within rounding error of each other.
"""

from __future__ import annotations

import torch

from src.utils.seeding import derive_seed

WORD = 1 << 32


def penalize(logits_BV: torch.Tensor, seen_BV: torch.Tensor, penalty: float) -> torch.Tensor:
    """Repetition penalty (arXiv 1909.05858): positive logits of seen tokens are divided, negative ones multiplied.

    Args:
        logits_BV: Scores.
        seen_BV: Boolean; tokens of the prompt and of the answer so far.
        penalty: Above 1 discourages repetition; 1 changes nothing.

    Returns:
        Adjusted scores, B x V.
    """
    adjusted = torch.where(logits_BV < 0, logits_BV * penalty, logits_BV / penalty)
    return torch.where(seen_BV, adjusted, logits_BV)


def draw(
    logits_BV: torch.Tensor, key_B: torch.Tensor, temperature: float, top_k: int = 0, top_p: float = 1.0
) -> torch.Tensor:
    """Draw one token per row from softmax(logits / temperature), restricted to its most probable tokens.

    Args:
        logits_BV: Scores.
        key_B: Each row's key for this token, its only source of randomness.
        temperature: Above 0.
        top_k: Number of most probable tokens to keep; 0 keeps all.
        top_p: Of those, renormalized, keep the fewest that reach this mass.

    Returns:
        Token ids, B.
    """
    scores_BV = logits_BV.double() / temperature
    if top_k:
        last_B1 = scores_BV.topk(min(top_k, scores_BV.shape[-1])).values[:, -1:]
        scores_BV = scores_BV.masked_fill(scores_BV < last_B1, -torch.inf)
    if top_p < 1:
        scores_BV = scores_BV.masked_fill(~_nucleus(scores_BV, top_p), -torch.inf)
    return (scores_BV + gumbel(key_B, scores_BV.shape[-1])).argmax(-1)


def _nucleus(scores_BV: torch.Tensor, top_p: float) -> torch.Tensor:
    """Mask all but the smallest set of most probable tokens whose mass reaches `top_p` (arXiv 1904.09751)."""
    ordered, tokens = scores_BV.sort(dim=-1, descending=True, stable=True)
    probabilities = torch.softmax(ordered, dim=-1)
    kept = probabilities.cumsum(-1) - probabilities < top_p
    return torch.zeros_like(kept).scatter_(-1, tokens, kept)


def gumbel(key_B: torch.Tensor, vocabulary: int) -> torch.Tensor:
    """Compute standard Gumbel noise as a function of key and token, the same on any device.

    Args:
        key_B: Integers in [0, 2^32).
        vocabulary: V.

    Returns:
        B x V float64.
    """
    token_V = _mix(torch.arange(vocabulary, device=key_B.device))
    word_BV = _mix(token_V ^ key_B[:, None])
    uniform_BV = (word_BV.double() + 0.5) / WORD
    return -torch.log(-torch.log(uniform_BV))


def keys(seed: int, rows: list[tuple[str, int]], length: int) -> torch.Tensor:
    """Generate each row's stream of keys.

    Args:
        seed: Seed of the run.
        rows: (prompt id, sample index) of each row.
        length: Number of keys per row.

    Returns:
        B x T integers in [0, 2^32), on the CPU; row i depends only on the seed and `rows[i]`.
    """
    streams = []
    for row in rows:
        generator = torch.Generator().manual_seed(derive_seed(seed, "sample", *row))
        streams.append(torch.randint(0, WORD, (length,), generator=generator))
    return torch.stack(streams)


def _mix(word: torch.Tensor) -> torch.Tensor:
    """Mix 32-bit words with a bijection; constants from nullprogram.com/blog/2018/07/31."""
    word = (word ^ (word >> 16)) * 0x7FEB352D & (WORD - 1)
    word = (word ^ (word >> 15)) * 0x846CA68B & (WORD - 1)
    return word ^ (word >> 16)
