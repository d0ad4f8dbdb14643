"""Verification of a merge: sampled tensors are computed again and compared bit by bit."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from src.checkpoints import Checkpoint
from src.merging.engine.grid import MergeRequest, merge_grid
from src.merging.engine.outputs import ToFunction
from src.merging.recipe import Recipe
from src.merging.tensors.matching import match_tensors
from src.merging.tensors.parent import Parent
from src.utils.errors import UserError


@dataclass(frozen=True)
class Verification:
    """Tensors that were compared.

    Args:
        sampled: Names of the tensors that were computed again.
        differing: Those that differ in any bit or that the merge lacks.
    """

    sampled: tuple[str, ...]
    differing: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """True if no sampled tensor differs."""
        return not self.differing


def verify_merge(
    merged: Checkpoint,
    base: Parent,
    specialists: Mapping[str, Parent],
    recipe: Recipe,
    tensors: int = 16,
    seed: int = 0,
) -> Verification:
    """Compute sampled tensors of a merge again and compare.

    Args:
        merged: The existing merge.
        base: Base that its record names.
        specialists: Specialists that its record names.
        recipe: Of its record, see `registry.recipe_from`.
        tensors: Number of tensors to sample.
        seed: Of the sample.

    Raises:
        UserError: The parents do not belong together, or the recipe does not suit them.
    """
    base, specialists = match_tensors(base, specialists)
    names = base.names
    sampled = names if len(names) <= tensors else tuple(sorted(random.Random(seed).sample(names, tensors)))
    differing = []

    def compare(name: str, tensor: torch.Tensor) -> None:
        if name not in merged.table or not _same(merged.tensor(name), tensor):
            differing.append(name)

    [result] = merge_grid(base, specialists, [MergeRequest(recipe, ToFunction(compare))], names=sampled)
    if result.error is not None:
        raise UserError(f"the merge of {merged.path} cannot be repeated: {result.error}")
    return Verification(sampled, tuple(differing))


def _same(left: torch.Tensor, right: torch.Tensor) -> bool:
    return left.dtype == right.dtype and left.shape == right.shape and torch.equal(left, right)
