"""Merging in the singular bases of the task vectors: TSV-Merge (2412.00081) and Iso-C (2502.04959).

Only the layers' matrices are merged this way, each expert's separately; vectors, embeddings and the head get the
weighted sum of the task vectors. `lambda` scales the whole task vector, as in the authors' code. Deltas are first
multiplied by K times their coefficient, so equal coefficients give the published methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from src.checkpoints.layers import locate
from src.merging.backend.combine import Combination, add_up
from src.merging.methods.sparsify import dense
from src.merging.tensors.blocks import BlockFunction, ParentTensors
from src.utils.validation import checked_dataclass

NULL = 1e-6  # relative to the largest singular value: smaller ones are rounding errors


@checked_dataclass("merge")
class Spectral:
    """Merge the layers' matrices by their singular vectors.

    Args:
        kind: `tsv` or `iso`, see `tsv_merge` and `iso_merge`.
        lambda_: Factor on the merged task vector.

    Raises:
        UserError: `lambda_` is not a number.
    """

    kind: Literal["tsv", "iso"]
    lambda_: float
    returns_weights = False

    def prepare(self, tensors: ParentTensors, coefficients: Sequence[float]) -> BlockFunction:
        """See `Rule.prepare`."""
        if locate(tensors.name).block is None or not _is_matrix(tensors):
            return Combination(dense(tensors), tuple(coefficients), False, False, self.lambda_, fallback=True)
        merge = tsv_merge if self.kind == "tsv" else iso_merge
        deltas = [tensors.delta(k) * (coefficient * len(coefficients)) for k, coefficient in enumerate(coefficients)]
        if len(tensors.shape) == 3:
            whole = torch.stack([merge(expert) for expert in zip(*deltas, strict=True)])
        else:
            whole = merge(deltas)
        merged = (whole * self.lambda_).reshape(-1)
        return lambda block: merged[block.start : block.stop]


def _is_matrix(tensors: ParentTensors) -> bool:
    """True for a matrix, and for the stacked matrices of experts (experts, m, n)."""
    return len(tensors.shape) == 2 or (len(tensors.shape) == 3 and "experts" in tensors.name)


def tsv_merge(deltas: Sequence[torch.Tensor]) -> torch.Tensor:
    """TSV-Merge of K matrices (m, n): 1/K of every task's singular triplets, their bases made orthogonal to each other.

    Every delta keeps int(min(m, n) / K) leading triplets (at least one). The concatenated left vectors U are replaced
    with the nearest matrix with orthonormal columns, P Q^T of their SVD, and so are the right ones. Triplets with a
    zero singular value have arbitrary vectors, which must not displace the others: a low-rank adapter has many of them.
    """
    keep = max(1, min(deltas[0].shape) // len(deltas))
    triplets = [_without_null(*torch.linalg.svd(delta, full_matrices=False)) for delta in deltas]
    left = _orthogonal(torch.cat([u[:, :keep] for u, _, _ in triplets], dim=1))
    right = _orthogonal(torch.cat([v[:keep] for _, _, v in triplets], dim=0))
    values = torch.cat([s[:keep] for _, s, _ in triplets])
    return (left * values) @ right


def iso_merge(deltas: Sequence[torch.Tensor]) -> torch.Tensor:
    """Iso-C of K matrices (m, n): their sum with all singular values replaced with their mean."""
    u, s, v = torch.linalg.svd(add_up(deltas), full_matrices=False)
    return (u * s.mean()) @ v


def _without_null(
    left: torch.Tensor, values: torch.Tensor, right: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    real = values > NULL * values[0]
    return left * real, values * real, right * real[:, None]


def _orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    p, _, q = torch.linalg.svd(matrix, full_matrices=False)
    return p @ q
