"""Merging with statistics of task data: Fisher-weighted averaging (2111.09832) and RegMean (2212.09849).

Their statistics are directories of safetensors, one per specialist, computed by `fisher_regmean_statistics`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import field
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field

from src.checkpoints import Checkpoint
from src.merging.backend.combine import Mean
from src.merging.tensors.blocks import Block, BlockFunction
from src.merging.tensors.parent_tensors import ParentTensors
from src.merging.tensors.reductions import deterministic_sums
from src.utils.errors import UserError
from src.utils.validation import checked_dataclass

FISHER_FLOOR = 1e-6  # relative to the tensor's mean, added to every value, so that all zeros give the weighted mean
RIDGE = 1e-8  # relative to the mean of the diagonal
REFINEMENTS = 2


@checked_dataclass("merge")
class Statistics:
    """The statistics of all specialists.

    Args:
        kind: `fisher` or `regmean`, for messages.
        directories: By specialist.

    Raises:
        UserError: On use, if a specialist has no statistics or their tensors do not match.
    """

    kind: str
    directories: Mapping[str, str] | None = field(hash=False)

    @cached_property
    def _opened(self) -> dict[str, Checkpoint]:
        return {name: Checkpoint(Path(path)) for name, path in (self.directories or {}).items()}

    def of(self, tensors: ParentTensors) -> list[Checkpoint]:
        """The specialists' statistics, in the order of a tensor's parents."""
        missing = [label for label in tensors.labels if label not in self._opened]
        if missing:
            raise UserError(
                f"merge={self.kind} needs merge.statistics.{missing[0]}=DIR, its statistics on its own task"
            )
        return [self._opened[label] for label in tensors.labels]

    def have(self, tensors: ParentTensors, shape: tuple[int, ...]) -> bool:
        """True if all specialists have statistics of a tensor, False if none has.

        Raises:
            UserError: Some have them and others lack them, or a shape differs.
        """
        found = [tensors.name in one.table for one in self.of(tensors)]
        if any(found) != all(found):
            lacking = tensors.labels[found.index(False)]
            raise UserError(
                f"the {self.kind} statistics of {lacking} lack {tensors.name}, which the others have; recompute them"
            )
        for one in self.of(tensors) if all(found) else ():
            if one.shape(tensors.name) != shape:
                raise UserError(
                    f"{one.path}: {tensors.name} has shape {list(one.shape(tensors.name))}, expected {list(shape)}"
                )
        return all(found)


@checked_dataclass("merge")
class Fisher:
    """sum w F A / sum w F, element by element, F the diagonal Fisher information of each specialist on its task.

    Tensors without statistics get the weighted mean. A millionth of the tensor's mean is added to F after equalizing:
    a floor in absolute terms would hide the values of large models, which lie far below 1e-6.

    Args:
        statistics: Diagonal Fisher information by specialist, shaped like the weights.
        equalize: Divide every specialist's F by its norm over the whole model, so that no task outweighs the others
            because of the scale of its gradients.

    Raises:
        UserError: `equalize` is not a bool.
    """

    statistics: Statistics
    equalize: bool
    returns_weights = True
    normalize = True

    def prepare(self, tensors: ParentTensors, coefficients: Sequence[float]) -> BlockFunction:
        """See `Rule.prepare`."""
        if not self.statistics.have(tensors, tensors.shape):
            return Mean(tuple(coefficients), normalize=True, fallback=True)
        files = self.statistics.of(tensors)
        scales = tensors.once(("fisher scales", self), lambda: self._scales(tensors))

        def merge(block: Block) -> torch.Tensor:
            total = torch.zeros_like(block.base)
            divisor = torch.zeros_like(block.base)
            for k, (file, scale, coefficient) in enumerate(zip(files, scales, coefficients, strict=True)):
                fisher = block.once(("fisher", str(file.path)), partial(_read, file, tensors.name, block.start))
                importance = (fisher * scale + FISHER_FLOOR) * coefficient
                total += importance * block.specialist(k)
                divisor += importance
            return total / divisor

        return merge

    def _scales(self, tensors: ParentTensors) -> list[float]:
        """Factors that equalize the specialists and bring the mean of this tensor's Fisher values to 1."""
        equal = [1 / self._norms[label] if self.equalize else 1.0 for label in tensors.labels]
        sums = [
            math.fsum(deterministic_sums(file.tensor(tensors.name).float().reshape(-1), 1))
            for file in self.statistics.of(tensors)
        ]
        mean = math.fsum(e * s for e, s in zip(equal, sums, strict=True)) / max(len(sums) * tensors.numel, 1)
        return [e / mean if mean > 0 else 0.0 for e in equal]

    @cached_property
    def _norms(self) -> dict[str, float]:
        norms = {}
        for label, path in (self.statistics.directories or {}).items():
            file = Checkpoint(Path(path))
            squares = (sum_of_squares(file.tensor(name)) for name in file.names)
            norms[label] = math.sqrt(math.fsum(squares)) or 1.0
        return norms


@checked_dataclass("merge")
class RegMean:
    """The linear map closest, in least squares, to every specialist's on that specialist's own inputs.

    W^T = (sum w G)^-1 sum w G W^T with G = X^T X of the layer's inputs, its off-diagonal entries scaled by `alpha`.
    Tensors without statistics get the weighted mean.

    Args:
        statistics: Gram matrices (in, in) by specialist, under the names of the weights (out, in).
        alpha: Factor on the off-diagonal entries in [0, 1]; 1 is plain least squares, 0 a diagonal Fisher mean.

    Raises:
        UserError: `alpha` is out of its range.
    """

    statistics: Statistics
    alpha: Annotated[float, Field(ge=0, le=1)]
    returns_weights = True
    normalize = True

    def prepare(self, tensors: ParentTensors, coefficients: Sequence[float]) -> BlockFunction:
        """See `Rule.prepare`."""
        if len(tensors.shape) != 2 or not self.statistics.have(tensors, (tensors.row, tensors.row)):
            return Mean(tuple(coefficients), normalize=True, fallback=True)
        grams = [file.tensor(tensors.name) for file in self.statistics.of(tensors)]
        matrices = [tensors.weights(k).cpu() for k in range(len(coefficients))]
        merged = regression_mean(matrices, grams, coefficients, self.alpha).float().reshape(-1).to(tensors.device)
        return lambda block: merged[block.start : block.stop]


def _read(file: Checkpoint, name: str, start: int, out: torch.Tensor) -> None:
    out.copy_(file.flat(name, start, start + out.numel()))


def regression_mean(
    matrices: Sequence[torch.Tensor], grams: Sequence[torch.Tensor], coefficients: Sequence[float], alpha: float
) -> torch.Tensor:
    """RegMean of K weights (out, in) with inputs' Gram matrices (in, in), float64.

    Directions that occur in no input keep the values of the plain weighted mean.
    """
    mean = sum(w * matrix.double() for w, matrix in zip(coefficients, matrices, strict=True)) / sum(coefficients)
    left = torch.zeros_like(grams[0], dtype=torch.float64)
    right = torch.zeros_like(matrices[0], dtype=torch.float64)
    for coefficient, matrix, gram in zip(coefficients, matrices, grams, strict=True):
        wide = gram.double()
        scaled = coefficient * (alpha * wide + (1 - alpha) * torch.diag(wide.diagonal()))
        left += scaled
        right += (matrix.double() - mean) @ scaled
    return mean + _solve(left, right.T).T


def _solve(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Smallest solution of left x = right, to float32's precision.

    A ridge bounds what rounding errors become where `left` is singular; each refinement reduces its effect on a
    direction by the ratio of the ridge to that direction's eigenvalue.
    """
    ridged = left.clone()
    ridged.diagonal().add_(RIDGE * left.diagonal().mean() + 1e-30)
    factors = torch.linalg.lu_factor(ridged)
    found = torch.linalg.lu_solve(*factors, right)
    for _ in range(REFINEMENTS):
        found += torch.linalg.lu_solve(*factors, right - left @ found)
    return found


def sum_of_squares(values: torch.Tensor) -> float:
    """Sum of squares of all elements, in float64."""
    return math.fsum(deterministic_sums(values.float().reshape(-1), 2))
