"""Interface of a merge method: prepare a tensor once for all parents, then merge it block by block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from src.merging.tensors.blocks import BlockFunction
from src.merging.tensors.parent_model import ParentModel
from src.merging.tensors.parent_tensors import ParentTensors
from src.utils.errors import UserError


@runtime_checkable
class ReportingFunction(Protocol):
    """A `BlockFunction` that knows what its method did with the tensor."""

    @property
    def fallback(self) -> bool:
        """True if the method does not apply to this tensor, which gets a plain weighted mean or sum instead."""
        ...

    def kept(self) -> list[int] | None:
        """Elements of each task vector that were kept and are not 0, after all blocks; None if nothing is selected."""
        ...


@runtime_checkable
class Rule(Protocol):
    """The mathematics of a method; implementations are `checked_dataclass`es of their parameters."""

    @property
    def returns_weights(self) -> bool:
        """True if the rule returns merged weights, False if it returns a delta to add to the base."""
        ...

    def prepare(self, tensors: ParentTensors, coefficients: Sequence[float]) -> BlockFunction:
        """Prepare the merge of one tensor.

        Args:
            tensors: The tensor in base and K specialists; whole-tensor quantities are taken from it (and cached in it,
                so that the points of a grid share them).
            coefficients: K numbers, in the order of the specialists.

        Returns:
            A function of a block that returns its merged values, float32, one-dimensional; thread-safe.
        """
        ...


@runtime_checkable
class WholeModelRule(Rule, Protocol):
    """A `Rule` that may have to look at the whole model before any tensor is merged."""

    @property
    def needs_model(self) -> bool:
        """True if `ask` and `over` have to be called first."""
        ...

    def ask(self, model: ParentModel) -> None:
        """Name what `over` will look up; called for all points of a grid before `over` is for the first."""
        ...

    def over(self, model: ParentModel) -> Rule:
        """The rule with what it needs to know of the model.

        Args:
            model: All tensors that are merged with it, and a cache that the points of a grid share.
        """
        ...


def shares_of(method: str, coefficients: Sequence[float]) -> list[float]:
    """Coefficients of a method that only takes their ratio, divided by their sum.

    Args:
        method: Name of the method, for the message.
        coefficients: K numbers.

    Raises:
        UserError: One is negative, or all are zero.
    """
    total = sum(coefficients)
    if not total > 0 or min(coefficients) < 0:
        raise UserError(
            f"merge={method} takes coefficients of at least 0, one of them positive, got {list(coefficients)}"
        )
    return [coefficient / total for coefficient in coefficients]
