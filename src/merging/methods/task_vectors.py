"""The product space {sparsifier} x {sum, sign consensus} x {normalize, lambda}, and the plain weighted mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from src.merging.backend.combine import Combination, Mean
from src.merging.methods.sparsify import Sparsity, ask_for_cuts, over_model, prepare_each, prepare_sparsity
from src.merging.tensors.blocks import BlockFunction
from src.merging.tensors.parent_model import ParentModel
from src.merging.tensors.parent_tensors import ParentTensors
from src.utils.validation import checked_dataclass


@checked_dataclass("merge")
class TaskVectors:
    """base + lambda * combination of sparsified task vectors: task arithmetic, TIES, DARE, DELLA, breadcrumbs.

    Args:
        sparsity: Which elements of every task vector are kept; or one sparsifier per specialist.
        consensus: Elect signs (TIES).
        normalize: Divide by the (surviving) coefficients.
        lambda_: Factor on the merged task vector.

    Raises:
        UserError: A value has the wrong type.
    """

    sparsity: Sparsity | tuple[Sparsity, ...]
    consensus: bool
    normalize: bool
    lambda_: float
    returns_weights = False

    @property
    def needs_model(self) -> bool:
        """See `WholeModelRule`."""
        return any(one.trim == "model" and one.density < 1 for one in self._sparsities)

    @property
    def _sparsities(self) -> tuple[Sparsity, ...]:
        return (self.sparsity,) if isinstance(self.sparsity, Sparsity) else self.sparsity

    def ask(self, model: ParentModel) -> None:
        """See `WholeModelRule.ask`."""
        for one in self._sparsities:
            ask_for_cuts(one, model)

    def over(self, model: ParentModel) -> TaskVectors:
        """See `WholeModelRule.over`."""
        if isinstance(self.sparsity, Sparsity):
            return replace(self, sparsity=over_model(self.sparsity, model))
        return replace(self, sparsity=tuple(over_model(one, model) for one in self.sparsity))

    def prepare(self, tensors: ParentTensors, coefficients: Sequence[float]) -> BlockFunction:
        """See `Rule.prepare`."""
        if isinstance(self.sparsity, Sparsity):
            parts = prepare_sparsity(tensors, self.sparsity)
        else:
            parts = prepare_each(tensors, self.sparsity)
        return Combination(parts, tuple(coefficients), self.consensus, self.normalize, self.lambda_)


@checked_dataclass("merge")
class WeightedMean:
    """sum c A / sum c, or sum c A: model soups (2203.05482).

    Args:
        normalize: Divide by the sum of the coefficients.

    Raises:
        UserError: `normalize` is not a bool.
    """

    normalize: bool
    returns_weights = True

    def prepare(self, tensors: ParentTensors, coefficients: Sequence[float]) -> BlockFunction:
        """See `Rule.prepare`."""
        return Mean(tuple(coefficients), self.normalize)
