"""Multi-SLERP: the weighted mean direction of any number of specialists, at their mean norm, as in mergekit.

Legend: K specialists.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from src.merging.backend.combine import Combination, Mean
from src.merging.methods.sparsify import dense
from src.merging.methods.spherical import Space, combination, gram
from src.merging.tensors.blocks import BlockFunction
from src.merging.tensors.parent_tensors import ParentTensors
from src.utils.validation import checked_dataclass

CANCELED = 1e-7  # norm of the mean of unit vectors below which it has no direction; its square is known to 1e-16


@checked_dataclass("merge")
class MultiSlerp:
    """(sum w |v|) m, with m the direction of the weighted mean of the unit vectors v / |v|.

    mergekit's multislerp moves the vectors to the tangent space at m, adds them there and maps the sum back to the
    sphere. At m the weighted tangents sum to zero, so the result is m itself. For two vectors of equal norm and
    coefficient this is slerp at 1/2; otherwise it divides the chord and not the angle. Where the directions cancel, it
    is the weighted mean (mergekit: an error with three specialists or more).

    Args:
        space: `deltas` or `weights`.
        normalize: Divide the coefficients by their sum. The direction depends only on their ratio.

    Raises:
        UserError: A value has the wrong type.
    """

    space: Space
    normalize: bool

    @property
    def returns_weights(self) -> bool:
        """See `Rule`."""
        return self.space == "weights"

    def prepare(self, tensors: ParentTensors, coefficients: Sequence[float]) -> BlockFunction:
        """See `Rule.prepare`."""
        total = sum(coefficients) if self.normalize else 1.0
        shares = torch.tensor([coefficient / total for coefficient in coefficients], dtype=torch.float64)
        products = gram(tensors, self.returns_weights)
        factors = multislerp_coefficients(products, shares)
        if factors is not None:
            return combination(tensors, factors[None], self.returns_weights)
        plain, canceled = tuple(shares.tolist()), bool(products.any())
        if self.returns_weights:
            return Mean(plain, normalize=False, fallback=canceled)
        return Combination(dense(tensors), plain, False, normalize=False, lambda_=1.0, fallback=canceled)


def multislerp_coefficients(grams: torch.Tensor, shares: torch.Tensor) -> torch.Tensor | None:
    """(K, K) inner products -> (K,) factors on the vectors; None if their directions cancel or all vanish."""
    norms = grams.diagonal().sqrt()
    units = torch.where(norms > 0, shares / norms.clamp(min=1e-300), 0.0)
    length = (units @ grams @ units).clamp(min=0).sqrt()
    return None if length < CANCELED else units * (shares @ norms) / length
