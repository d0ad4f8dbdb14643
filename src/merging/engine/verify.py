"""Verify a merge: recompute sampled tensors and compare them bit by bit."""

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
        sampled: Names of the recomputed tensors.
        differing: Those that differ in any bit, that the merge lacks, or that are not in its recipe.
        total: Number of tensors in the merge.
        bitwise: They were compared bit by bit; otherwise up to rounding.
    """

    sampled: tuple[str, ...]
    differing: tuple[str, ...]
    total: int
    bitwise: bool = True

    @property
    def holds(self) -> bool:
        """True if no sampled tensor differs."""
        return not self.differing


def verify_merge(
    merged: Checkpoint,
    base: Parent,
    specialists: Mapping[str, Parent],
    recipe: Recipe,
    tensors: int | None = 16,
    seed: int | None = 0,
) -> Verification:
    """Recompute sampled tensors of a merge and compare.

    Args:
        merged: The existing merge.
        base: Base named in its record.
        specialists: Specialists named in its record.
        recipe: Recipe from its record, see `registry.recipe_from`.
        tensors: Number of tensors to sample; None: all.
        seed: Seed of the sample; None: a new one each time.

    Raises:
        UserError: The parents do not match, or the recipe cannot be applied to them.
    """
    base, specialists = match_tensors(base, specialists)
    names = base.names
    every = tensors is None or len(names) <= tensors
    sampled = names if every else tuple(sorted(random.Random(seed).sample(names, tensors or 0)))
    differing = sorted(set(merged.names) - set(names))

    def compare(name: str, tensor: torch.Tensor) -> None:
        if name not in merged.table or not _same(merged.tensor(name), tensor):
            differing.append(name)

    [result] = merge_grid(base, specialists, [MergeRequest(recipe, ToFunction(compare))], names=sampled)
    if result.error is not None:
        raise UserError(f"the merge of {merged.path} cannot be repeated: {result.error}")
    return Verification(sampled, tuple(differing), len(names))


def _same(left: torch.Tensor, right: torch.Tensor) -> bool:
    return left.dtype == right.dtype and left.shape == right.shape and torch.equal(left, right)
