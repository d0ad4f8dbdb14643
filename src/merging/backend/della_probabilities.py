"""DELLA's keep probabilities: larger elements of a row are more likely to be kept (arXiv 2406.11617)."""

from __future__ import annotations

import torch


def keep_probabilities(delta: torch.Tensor, row: int, density: float, epsilon: float) -> torch.Tensor:
    """From density - epsilon for the smallest |D| of a row to density + epsilon for the largest, linear in the rank.

    Args:
        delta: (m * row,), whole rows, float32.
        row: Row length r. Equal magnitudes are ranked in storage order.
        density: Mean probability.
        epsilon: Half their spread.

    Returns:
        Probabilities (m * row,), float32; a row of one element gets `density`.
    """
    magnitudes = delta.abs().reshape(-1, row)
    order = magnitudes.argsort(dim=1, stable=True)
    by_rank = rank_probabilities(row, density, epsilon).to(delta.device).expand_as(magnitudes)
    return torch.empty_like(magnitudes).scatter_(1, order, by_rank).reshape(-1)


def rank_probabilities(row: int, density: float, epsilon: float) -> torch.Tensor:
    """Keep probability of ranks 0 to row - 1, float32."""
    if row == 1:
        return torch.full((1,), density, dtype=torch.float32)
    ranks = torch.arange(row, dtype=torch.float32) / float(row - 1)
    return (density - epsilon) + ranks * 2 * epsilon
