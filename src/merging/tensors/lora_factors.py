"""Factors of LoRA updates: as PEFT stores them, and their singular values without forming the product.

Legend: m, n shape of the adapted matrix, r rank, E experts stacked in one tensor (a dimension that matrices lack).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

# Of subspace iteration: more vectors than are wanted, how many times as many rows make it worth while, most rounds, and
# the relative growth of the captured squares that ends it.
SPARE, FEW, ROUNDS, CONVERGED = 16, 4, 50, 1e-8


@dataclass(frozen=True)
class Factors:
    """An update scale * left @ right of one tensor.

    Args:
        left: (m, r) or (E, m, r).
        right: (r, n) or (E, r, n).
        scale: Factor on the product.
    """

    left: torch.Tensor
    right: torch.Tensor
    scale: float = 1.0

    @property
    def rank(self) -> int:
        """Inner dimension."""
        return self.right.shape[-2]

    def product(self) -> torch.Tensor:
        """The update."""
        return self.left @ self.right * self.scale

    def experts(self) -> list[Factors]:
        """The updates of the matrices that are stacked; of a matrix, itself alone."""
        if self.left.dim() == 2:
            return [self]
        return [Factors(left, right, self.scale) for left, right in zip(self.left, self.right, strict=True)]

    def to(self, device: torch.device) -> Factors:
        """The same on another device."""
        return Factors(self.left.to(device), self.right.to(device), self.scale)


def unpack(down: torch.Tensor, up: torch.Tensor, scale: float, flipped: bool, experts: int | None) -> Factors:
    """Factors of an update from `lora_A` and `lora_B` as PEFT stores them, in their dtype.

    PEFT multiplies B A as for a linear layer, whose weight is (out, in). Stacked experts share two matrices: in the
    rows of A the expert is the outer index and the rank the inner one, in the columns of B it is the other way round.

    Args:
        down: `lora_A`, (r, in) or (E r, in).
        up: `lora_B`, (out, r) or (out, r E).
        scale: Factor on the product.
        flipped: The tensor is stored (in, out): embeddings, `Conv1D`, some stacked experts.
        experts: E; None for a matrix.
    """
    if experts is not None:
        down = down.reshape(experts, -1, down.shape[-1])
        up = up.reshape(up.shape[0], -1, experts).permute(2, 0, 1)
    return Factors(down.mT, up.mT, scale) if flipped else Factors(up, down, scale)


def pack(factors: Factors, flipped: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """`lora_A` and `lora_B` of an update, the inverse of `unpack`; the scale goes into `lora_B`."""
    down, up = (factors.left.mT, factors.right.mT) if flipped else (factors.right, factors.left)
    up = up * factors.scale
    if down.dim() == 3:
        down, up = down.reshape(-1, down.shape[-1]), up.permute(1, 2, 0).reshape(up.shape[1], -1)
    return down, up


def add(updates: list[Factors], coefficients: list[float]) -> Factors:
    """Weighted sum of updates; their ranks add up."""
    pairs = zip(updates, coefficients, strict=True)
    left = torch.cat([update.left * (update.scale * coefficient) for update, coefficient in pairs], dim=-1)
    return Factors(left, torch.cat([update.right for update in updates], dim=-2))


def pad(update: Factors, rank: int) -> Factors:
    """The same update with factors of a higher rank, the rest zero."""
    more = max(rank - update.rank, 0)
    return Factors(
        torch.nn.functional.pad(update.left, (0, more)),
        torch.nn.functional.pad(update.right, (0, 0, 0, more)),
        update.scale,
    )


def singular_values(update: Factors) -> torch.Tensor:
    """Singular values of an update (E of them for stacked experts), float64; at most r are returned."""
    return torch.linalg.svdvals(_core(update)[1])


def truncate(update: Factors, rank: int) -> Factors:
    """The nearest update of lower rank (Eckart-Young), its singular values shared by both factors."""
    left, core, right = _core(update)
    u, s, v = torch.linalg.svd(core, full_matrices=False)
    root = s[..., :rank].sqrt()
    return Factors(left @ (u[..., :rank] * root.unsqueeze(-2)), (root.unsqueeze(-1) * v[..., :rank, :]) @ right.mT)


def factorize(update: torch.Tensor, rank: int) -> Factors:
    """`truncate` for an update that is given as a whole, (m, n) or (E, m, n)."""
    whole = update.double()
    if whole.shape[-2] > whole.shape[-1]:
        flipped = factorize(whole.mT, rank)
        return Factors(flipped.right.mT, flipped.left.mT)
    left = _leading_vectors(whole, rank)
    right = left.mT @ whole
    root = right.norm(dim=-1).sqrt()
    root = torch.where(root > 0, root, torch.ones_like(root))
    return Factors(left * root.unsqueeze(-2), right / root.unsqueeze(-1))


def _leading_vectors(whole: torch.Tensor, rank: int) -> torch.Tensor:
    """Left singular vectors of the `rank` largest singular values, (m, rank), m <= n.

    Where few of many are wanted, subspace iteration takes seconds for a matrix whose Gram matrix takes a minute; it
    ends when the captured squares have stopped to grow.
    """
    m, n = whole.shape[-2:]
    block = rank + SPARE
    if FEW * block >= m:
        return torch.linalg.eigh(whole @ whole.mT)[1].flip(-1)[..., :rank]
    start = torch.randn(n, block, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(whole.device)
    basis = torch.linalg.qr(whole @ start)[0]
    captured = torch.zeros(())
    for _ in range(ROUNDS):
        part = basis.mT @ whole
        values, vectors = torch.linalg.eigh(part @ part.mT)
        before, captured = captured, values[..., -rank:].sum()
        if float(captured - before) <= CONVERGED * float(captured):
            break
        basis = torch.linalg.qr(whole @ part.mT)[0]
    return (basis @ vectors).flip(-1)[..., :rank]


def _core(update: Factors) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Orthonormal columns on both sides of a small matrix, whose singular values are the update's."""
    left, upper = torch.linalg.qr(update.left)
    right, lower = torch.linalg.qr(update.right.mT)
    return left, upper @ lower.mT * update.scale, right


@runtime_checkable
class LowRank(Protocol):
    """A parent that knows some of its task vectors as products of two factors."""

    def factors(self, name: str) -> Factors | None:
        """Factors of the task vector of a tensor; None if it is given only as a whole."""
        ...


def factors_of(parent: object, name: str) -> Factors | None:
    """Factors of a parent's task vector; None if it is given only as a whole."""
    return parent.factors(name) if isinstance(parent, LowRank) else None
