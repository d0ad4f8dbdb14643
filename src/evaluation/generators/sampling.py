"""Choosing the next token. Shapes: B rows, V vocabulary, T new tokens."""

from __future__ import annotations

import torch

from src.utils.seeding import derive_seed


def penalise(logits_BV: torch.Tensor, seen_BV: torch.Tensor, penalty: float) -> torch.Tensor:
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
    logits_BV: torch.Tensor, uniform_B: torch.Tensor, temperature: float, top_k: int = 0, top_p: float = 1.0
) -> torch.Tensor:
    """Draw one token a row by inverting its cumulative distribution at that row's own uniform number.

    A row's token depends on its own logits and number alone, so a batch's make-up cannot change it.

    Args:
        logits_BV: Scores.
        uniform_B: Numbers in [0, 1).
        temperature: Above 0.
        top_k: Keep this many most probable tokens; 0 keeps all.
        top_p: Of those, renormalised, keep the fewest that reach this mass.

    Returns:
        Token ids, B.
    """
    ordered, tokens = torch.sort(logits_BV.double() / temperature, dim=-1, descending=True, stable=True)
    if top_k:
        ordered, tokens = ordered[:, :top_k], tokens[:, :top_k]
    probabilities = torch.softmax(ordered, dim=-1)
    before = probabilities.cumsum(-1) - probabilities
    probabilities = torch.where(before < top_p, probabilities, 0.0)
    cumulative = probabilities.cumsum(-1)
    picked = (cumulative <= uniform_B[:, None].double() * cumulative[:, -1:]).sum(-1, keepdim=True)
    return tokens.gather(-1, picked.clamp(max=tokens.shape[-1] - 1)).squeeze(-1)


def uniforms(seed: int, rows: list[tuple[str, int]], length: int) -> torch.Tensor:
    """Each row's stream of uniform numbers.

    Args:
        seed: Of the run.
        rows: (prompt id, sample index) of each row.
        length: Numbers a row.

    Returns:
        B x T float64 in [0, 1), on the CPU; row i depends on the seed and `rows[i]` alone.
    """
    streams = []
    for row in rows:
        generator = torch.Generator().manual_seed(derive_seed(seed, "sample", *row))
        streams.append(torch.rand(length, generator=generator, dtype=torch.float64))
    return torch.stack(streams)
