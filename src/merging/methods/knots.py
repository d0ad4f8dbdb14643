"""KnOTS (arXiv 2410.19735): align the task vectors of a layer in one singular basis, then merge them there.

The K updates of a matrix side by side are [D_1 ... D_K] = U S [V_1 ... V_K]^T. Every specialist's update is U (S V_k^T)
in the common basis U; the parts S V_k^T are merged as the inner method merges task vectors, and U times the merged part
is the merged update. Without trimming, dropping or electing signs, this is the weighted sum of the task vectors.

LoRA updates enter by their factors: QR of the stacked B, and the decomposition of a matrix as small as their ranks
together. Updates that are given as a whole are decomposed by the smaller of their two Gram matrices.

Legend: K specialists, m, n shape of the matrix, p rank of all updates together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from src.merging.methods.rule import ReportingFunction
from src.merging.methods.sparsify import Kind, Rescale, Sparsity
from src.merging.methods.spectral import is_layer_matrix, matrices
from src.merging.methods.task_vectors import TaskVectors
from src.merging.tensors.blocks import Block, BlockFunction
from src.merging.tensors.lora_factors import Factors
from src.merging.tensors.parent_tensors import ParentTensors
from src.utils.errors import UserError
from src.utils.validation import checked_dataclass

Inner = Literal["ties", "dare", "dare_ties", "task_arithmetic"]
KINDS: dict[Inner, Kind] = {
    "ties": "magnitude",
    "dare": "bernoulli",
    "dare_ties": "bernoulli",
    "task_arithmetic": "none",
}
NULL = 1e-6  # relative to the largest singular value: smaller ones are rounding errors


@checked_dataclass("merge")
class Knots:
    """Merge matrices in the common singular basis of their task vectors.

    These are the layers' matrices, each expert's separately, and everything that all specialists give by factors.
    Vectors, and whole embeddings and heads, are merged by the inner method as they are.

    Args:
        inner: Method that merges the aligned parts; the other arguments are its own.
        density: Fraction of every part that is kept; 1 for `task_arithmetic`, which selects nothing.
        normalize: See `combine`.
        rescale: See `Sparsity`.
        lambda_: Factor on the merged task vector.
        seed: Seed of the random masks.

    Raises:
        UserError: A value is out of its range.
    """

    inner: Inner
    density: float
    normalize: bool
    rescale: Rescale
    lambda_: float
    seed: int
    returns_weights = False

    def __post_init__(self) -> None:
        if self.inner == "task_arithmetic" and self.density != 1:
            raise UserError(f"merge.inner=task_arithmetic selects nothing: set merge.density=1, got {self.density:g}")
        assert self.method  # which checks its own values

    @property
    def method(self) -> TaskVectors:
        """The inner method."""
        sparsity = Sparsity(KINDS[self.inner], self.density, rescale=self.rescale, seed=self.seed)
        return TaskVectors(sparsity, self.inner in ("ties", "dare_ties"), self.normalize, self.lambda_)

    def prepare(self, tensors: ParentTensors, coefficients: Sequence[float]) -> BlockFunction:
        """See `Rule.prepare`."""
        aligned = tensors.once("knots", lambda: _align(tensors))
        if not aligned:
            return self.method.prepare(tensors, coefficients)
        merged = [self._merge(tensors, coefficients, index, one) for index, one in enumerate(aligned)]
        share = _mean([shares for _, shares in merged if shares])
        kept = [round(part * tensors.numel) for part in share]
        return Reconstructed(torch.cat([values for values, _ in merged]), kept or None)

    def _merge(
        self, tensors: ParentTensors, coefficients: Sequence[float], index: int, aligned: Aligned
    ) -> tuple[torch.Tensor, list[float]]:
        """Merge matrix `index` (of an expert); its update (m n,), and the kept share of every specialist's part."""
        parts = tensors.nested(f"{tensors.name}.{index}" if len(tensors.shape) == 3 else tensors.name, aligned.parts)
        if parts.numel == 0:  # no specialist changes the matrix
            return torch.zeros(aligned.basis.shape[0] * parts.shape[1], device=tensors.device), []
        function = self.method.prepare(parts, coefficients)
        values = torch.cat(parts.map(lambda block: function(block).clone())).reshape(parts.shape)
        whole = (aligned.basis @ values.double()).float().reshape(-1)
        kept = function.kept() if isinstance(function, ReportingFunction) else None
        return whole, [] if kept is None else [count / parts.numel for count in kept]


class Reconstructed:
    """The merged update of a tensor as a function of the block."""

    fallback = False

    def __init__(self, values: torch.Tensor, kept: list[int] | None) -> None:
        self._values = values
        self._kept = kept

    def __call__(self, block: Block) -> torch.Tensor:
        """The merged update of a block."""
        return self._values[block.start : block.stop]

    def kept(self) -> list[int] | None:
        """The kept share of the aligned parts, in elements of the tensor."""
        return self._kept


@dataclass(frozen=True)
class Aligned:
    """The task vectors of one matrix in their common basis.

    Args:
        basis: U, (m, p), float64.
        parts: S V_k^T of every specialist, (p, n), float32.
    """

    basis: torch.Tensor
    parts: list[torch.Tensor]


def _align(tensors: ParentTensors) -> list[Aligned]:
    """Align every matrix of a tensor; nothing if a task vector is given whole and is no matrix of a layer."""
    found = [tensors.factors(k) for k in range(len(tensors.labels))]
    updates = [update.experts() for update in found if update is not None]
    if len(updates) == len(found):
        return [align_factors(one) for one in zip(*updates, strict=True)]
    return [align(deltas) for deltas in matrices(tensors)] if is_layer_matrix(tensors) else []


def align_factors(updates: Sequence[Factors]) -> Aligned:
    """The common basis of K low-rank updates of one matrix.

    With B the lefts side by side (scales included), B = Q R, and A_k^T = Q_k R_k, the concatenation is
    Q (R blockdiag(R_1^T ... R_K^T)) blockdiag(Q_1^T ... Q_K^T), and only the matrix in the middle is decomposed.
    """
    left, upper = torch.linalg.qr(torch.cat([update.left * update.scale for update in updates], dim=1))
    rights = [torch.linalg.qr(update.right.mT) for update in updates]
    u, s, v = torch.linalg.svd(upper @ torch.block_diag(*(lower.mT for _, lower in rights)), full_matrices=False)
    real = _real(s)
    parts = v[real].split([q.shape[1] for q, _ in rights], dim=1)
    scaled = [(s[real, None] * part @ q.mT).float() for part, (q, _) in zip(parts, rights, strict=True)]
    return Aligned(left @ u[:, real], scaled)


def align(deltas: Sequence[torch.Tensor]) -> Aligned:
    """The common basis of K updates (m, n) that are given whole.

    U holds the eigenvectors of the sum of D_k D_k^T, and S V_k^T is U^T D_k. Where the concatenation is taller than
    wide, V comes first, from its other Gram matrix.
    """
    whole = [delta.double() for delta in deltas]
    m, n = whole[0].shape
    if m <= n * len(whole):
        u, _ = _eigenvectors(torch.stack([delta @ delta.mT for delta in whole]).sum(dim=0))
    else:
        side_by_side = torch.cat(whole, dim=1)
        v, values = _eigenvectors(side_by_side.mT @ side_by_side)
        u = side_by_side @ v / values
    return Aligned(u, [(u.mT @ delta).float() for delta in whole])


def _eigenvectors(gram: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Singular vectors and values of a matrix with this Gram matrix, the largest first."""
    squares, vectors = torch.linalg.eigh(gram)
    values = squares.clamp(min=0).sqrt().flip(0)
    real = _real(values)
    return vectors.flip(1)[:, real], values[real]


def _real(values: torch.Tensor) -> torch.Tensor:
    return values > NULL * values.max() if values.numel() else values > 0


def _mean(shares: Sequence[Sequence[float]]) -> list[float]:
    return [sum(column) / len(column) for column in zip(*shares, strict=True)]
