"""Merging in the singular bases of the task vectors: TSV-Merge (2412.00081), Iso-C and Iso-CTS (2502.04959).

Only the layers' matrices are merged this way, each expert's separately; vectors, embeddings and the head get the
weighted sum of the task vectors. `lambda` scales the whole task vector, as in the authors' code. Deltas are first
multiplied by K times their coefficient, so equal coefficients give the published methods.

Singular vectors of singular values that are zero are arbitrary. The authors give them the mean singular value too; here
they are left out, so that a task vector of low rank (an adapter) does not become noise in all other directions.

Legend: K specialists, (m, n) shape of a matrix, r = min(m, n).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field

from src.checkpoints.layers import locate
from src.merging.backend.combine import Combination, add_up
from src.merging.methods.sparsify import dense
from src.merging.tensors.blocks import BlockFunction
from src.merging.tensors.parent_tensors import ParentTensors
from src.utils.validation import checked_dataclass

NULL = 1e-6  # relative to the largest singular value: smaller ones are rounding errors
MergeMatrices = Callable[[Sequence[torch.Tensor]], torch.Tensor]


@checked_dataclass("merge")
class Spectral:
    """Merge the layers' matrices by their singular vectors.

    Args:
        kind: `tsv`, `iso` or `iso_cts`, see `tsv_merge`, `iso_merge` and `iso_cts_merge`.
        lambda_: Factor on the merged task vector.
        common: Fraction of the directions of `iso_cts` that are common to all tasks.

    Raises:
        UserError: A value is out of its range.
    """

    kind: Literal["tsv", "iso", "iso_cts"]
    lambda_: float
    common: Annotated[float, Field(ge=0, le=1)] = 1.0
    returns_weights = False

    def prepare(self, tensors: ParentTensors, coefficients: Sequence[float]) -> BlockFunction:
        """See `Rule.prepare`."""
        if not is_layer_matrix(tensors):
            return weighted_sum(tensors, coefficients, self.lambda_)
        factors = [coefficient * len(coefficients) for coefficient in coefficients]
        if self.kind == "tsv":
            used = tuple(factor != 0 for factor in factors)
            bases = tensors.once(("tsv", used), lambda: [tsv_bases(one, used) for one in matrices(tensors)])
            whole = torch.stack([_at_factors(one, factors) for one in bases])
        else:
            merge = iso_merge if self.kind == "iso" else partial(iso_cts_merge, common=self.common)
            key = (self.kind, self.common, tuple(factors))
            whole = tensors.once(key, lambda: _merge_scaled(merge, tensors, factors))
        merged = (whole * self.lambda_).reshape(-1)
        return lambda block: merged[block.start : block.stop]


def is_layer_matrix(tensors: ParentTensors) -> bool:
    """True for a matrix inside a numbered block, and for the stacked matrices of its experts (experts, m, n)."""
    stacked = len(tensors.shape) == 3 and "experts" in tensors.name
    return locate(tensors.name).block is not None and (len(tensors.shape) == 2 or stacked)


def weighted_sum(tensors: ParentTensors, coefficients: Sequence[float], lambda_: float) -> Combination:
    """The weighted sum of the task vectors of a tensor that a method for matrices does not apply to."""
    return Combination(dense(tensors), tuple(coefficients), False, normalize=False, lambda_=lambda_, fallback=True)


def matrices(tensors: ParentTensors) -> list[tuple[torch.Tensor, ...]]:
    """K task vectors (m, n) of each matrix in a tensor: one matrix, or one per expert."""
    deltas = [tensors.delta(k) for k in range(len(tensors.labels))]
    return list(zip(*deltas, strict=True)) if len(tensors.shape) == 3 else [tuple(deltas)]


def _merge_scaled(merge: MergeMatrices, tensors: ParentTensors, factors: Sequence[float]) -> torch.Tensor:
    scaled = [[d * factor for d, factor in zip(one, factors, strict=True)] for one in matrices(tensors)]
    return torch.stack([merge(one) for one in scaled])


class TsvBases(NamedTuple):
    """Singular triplets of K tasks with orthogonal bases, t of them per task: left (m, K t), values (K, t), right."""

    left: torch.Tensor
    values: torch.Tensor
    right: torch.Tensor


def tsv_merge(deltas: Sequence[torch.Tensor]) -> torch.Tensor:
    """TSV-Merge of K matrices (m, n): 1/K of every task's singular triplets, their bases made orthogonal to each other.

    Every delta keeps int(min(m, n) / K) leading triplets (at least one). The concatenated left vectors U are replaced
    with the nearest matrix with orthonormal columns, P Q^T of their SVD, and so are the right ones.
    """
    return _at_factors(tsv_bases(deltas, [True] * len(deltas)), [1.0] * len(deltas))


def tsv_bases(deltas: Sequence[torch.Tensor], used: Sequence[bool]) -> TsvBases:
    """Orthogonal bases of K tasks; a factor on a task vector changes only its values, so a grid shares them.

    Args:
        deltas: K matrices (m, n).
        used: Tasks with a factor other than 0; the others do not displace them.
    """
    keep = max(1, min(deltas[0].shape) // len(deltas))
    triplets = [_leading(delta * use, keep) for delta, use in zip(deltas, used, strict=True)]
    left = _orthogonal(torch.cat([u for u, _, _ in triplets], dim=1))
    right = _orthogonal(torch.cat([v for _, _, v in triplets], dim=0))
    return TsvBases(left, torch.stack([s for _, s, _ in triplets]), right)


def _at_factors(bases: TsvBases, factors: Sequence[float]) -> torch.Tensor:
    scales = torch.tensor(factors, dtype=bases.values.dtype, device=bases.values.device)
    return (bases.left * (bases.values * scales[:, None]).reshape(-1)) @ bases.right


def iso_merge(deltas: Sequence[torch.Tensor]) -> torch.Tensor:
    """Iso-C of K matrices (m, n): their sum with all singular values replaced with their mean."""
    return _flat(*_without_null(*torch.linalg.svd(add_up(deltas), full_matrices=False)))


def iso_cts_merge(deltas: Sequence[torch.Tensor], common: float) -> torch.Tensor:
    """Iso-CTS of K matrices (m, n): common directions of their sum, then directions of each task outside of those.

    The sum keeps c leading singular triplets. The columns of each delta are projected onto the complement of its left
    vectors, and each keeps (r - c) / K leading triplets of what is left. Both bases are made orthogonal as in
    TSV-Merge, and all singular values are replaced with their mean. c is `common` times r, rounded so that all tasks
    get the same number.
    """
    count, size = len(deltas), min(deltas[0].shape)
    each = min(round((size - int(size * common)) / count), size // count)
    shared = _leading(add_up(deltas), size - count * each)
    outside = [_leading(delta - shared[0] @ (shared[0].T @ delta), each) for delta in deltas]
    parts = [*outside, shared]
    left, right = torch.cat([u for u, _, _ in parts], dim=1), torch.cat([v for _, _, v in parts], dim=0)
    return _flat(_orthogonal(left), torch.cat([s for _, s, _ in parts]), _orthogonal(right))


Triplets = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Left vectors (m, t), singular values (t,), right vectors (t, n)."""


def _leading(delta: torch.Tensor, keep: int) -> Triplets:
    left, values, right = _without_null(*torch.linalg.svd(delta, full_matrices=False))
    return left[:, :keep], values[:keep], right[:keep]


def _without_null(left: torch.Tensor, values: torch.Tensor, right: torch.Tensor) -> Triplets:
    real = values > NULL * values[0]
    return left * real, values * real, right * real[:, None]


def _flat(left: torch.Tensor, values: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Replace the singular values that are not 0 with their mean."""
    real = values > 0
    return (left * (real * (values.sum() / real.sum().clamp(min=1)))) @ right


def _orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    p, _, q = torch.linalg.svd(matrix, full_matrices=False)
    return p @ q
