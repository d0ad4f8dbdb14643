"""One grid point during a pass: its output, its realized strength, and its error if it fails.

Realized strength is how far a merge moved from the base, compared with its parents.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import torch

from src.checkpoints import TensorInfo
from src.checkpoints.layers import locate
from src.merging.engine.outputs import Receiver, Sink
from src.merging.recipe import Recipe
from src.merging.tensors.blocks import Block, BlockFunction, ParentTensors, PointMerge
from src.merging.tensors.parent import Parent
from src.utils.errors import UserError
from src.utils.files import sha256_json


@dataclass(frozen=True)
class Norms:
    """Frobenius norms of one tensor's merged delta and of its parents' deltas."""

    merged: float
    parents: dict[str, float]


@dataclass(frozen=True)
class LayerStrength:
    """One layer of a merge.

    Args:
        layer: `embed_tokens`, `layers.0`, ... (see `src.checkpoints.layers`), or `all`.
        merged: Norm of the merged delta.
        parents: Norms of the specialists' deltas.
    """

    layer: str
    merged: float
    parents: dict[str, float]


class MergeInProgress:
    """A point and its open output; its `UserError` (disk full, ...) is stored and does not stop other points.

    Args:
        recipe: The point.
        sink: Where its tensors go.
        base: Base checkpoint; the merge has its tensors.
        labels: Names of the K specialists.
        key: Hash of the parents.
    """

    def __init__(self, recipe: Recipe, sink: Sink, base: Parent, labels: tuple[str, ...], key: str) -> None:
        self.recipe = recipe
        self.error: UserError | None = None
        self._coefficients = list(recipe.coefficients(labels).values())
        self._table = merged_table(base, recipe)
        self._exits = ExitStack()
        self._norms: dict[str, Norms] = {}
        self._wanted: set[str] = set()
        self._receiver: Receiver
        try:
            opened = sink.open(self._table, sha256_json([key, labels, recipe.describe(labels)]))
            self._receiver = self._exits.enter_context(opened)
        except UserError as error:
            self.error = error
        else:
            self._wanted = set(self._receiver.pending)
            self._norms = {name: Norms(**note) for name, note in self._receiver.notes.items()}

    def wants(self, name: str) -> bool:
        """True if tensor `name` still has to be merged."""
        return self.error is None and name in self._wanted

    def is_floating(self, name: str) -> bool:
        """True for tensors that are merged; integers and booleans are only copied."""
        return self.output_dtype(name).is_floating_point

    def output_dtype(self, name: str) -> torch.dtype:
        """Dtype in which a tensor is written."""
        return self._table[name].dtype

    def point_merge(self, tensors: ParentTensors, index: int) -> PointMerge | None:
        """Prepare the merge of one tensor; None if the method cannot merge it, which makes the point fail.

        Args:
            tensors: The tensor.
            index: Index of the point in its grid.

        """
        rule = self.recipe.rule
        merge: BlockFunction = self._base_values
        if not self.recipe.excludes(tensors.name):
            try:
                merge = rule.prepare(tensors, self._coefficients)
            except UserError as error:
                self.error = error
                self.close()
                return None
        return PointMerge(index, merge, rule.returns_weights, self.output_dtype(tensors.name))

    def _base_values(self, block: Block) -> torch.Tensor:
        return block.base if self.recipe.rule.returns_weights else torch.zeros_like(block.base)

    def matching_factor(self, tensors: ParentTensors, norm: float) -> float:
        """Factor that gives the merged delta the weighted mean norm of its parents' deltas."""
        total = math.fsum(abs(coefficient) for coefficient in self._coefficients)
        if norm == 0 or total == 0:
            return 1.0
        target = math.fsum(
            abs(coefficient) * parent for coefficient, parent in zip(self._coefficients, tensors.norms(), strict=True)
        )
        return target / total / norm

    def write(self, name: str, start: int, values: torch.Tensor) -> None:
        """Cast and write a block; called from several threads."""
        if self.error is not None:
            return
        try:
            self._receiver.write_part(name, start, values.to(self.output_dtype(name)))
        except UserError as error:
            self.error = error

    def copy(self, tensors: ParentTensors) -> None:
        """Copy an integer tensor from the base."""
        self.write(tensors.name, 0, tensors.shared())
        self.done(tensors, 0.0)

    def done(self, tensors: ParentTensors, norm: float) -> None:
        """Finish a tensor."""
        if self.error is None:
            norms = Norms(norm, dict(zip(tensors.labels, tensors.norms(), strict=True)))
            self._norms[tensors.name] = norms
            try:
                self._receiver.done(tensors.name, dataclasses.asdict(norms))
            except UserError as error:
                self.error = error
        if self.error is not None:
            self.close()

    def close(self, error: BaseException | None = None) -> None:
        """Publish a complete point; discard an incomplete one if it failed or `error` ends the pass."""
        cause = self.error or error
        exits, self._exits = self._exits, ExitStack()
        try:
            exits.__exit__(type(cause) if cause else None, cause, cause.__traceback__ if cause else None)
        except UserError as refused:
            self.error = self.error or refused

    def strength(self) -> list[LayerStrength]:
        """Realized strength by layer; empty if the point failed."""
        return [] if self.error else strength_by_layer(self._norms)


def merged_table(base: Parent, recipe: Recipe) -> dict[str, TensorInfo]:
    """Shapes and dtypes of the merged tensors."""
    return {name: TensorInfo(info.shape, recipe.output_dtype(info.dtype)) for name, info in base.table.items()}


def strength_by_layer(norms: Mapping[str, Norms]) -> list[LayerStrength]:
    """Combine the norms of tensors into those of layers.

    Args:
        norms: By tensor name.

    Returns:
        One entry per layer in the order of the network, then `all`.
    """
    layers: dict[str, list[Norms]] = {}
    for name in sorted(norms, key=lambda name: (locate(name).order, name)):
        layers.setdefault(locate(name).layer, []).append(norms[name])
    whole = _sum("all", [norms[name] for name in sorted(norms)])
    return [_sum(layer, parts) for layer, parts in layers.items()] + [whole]


def _sum(layer: str, parts: list[Norms]) -> LayerStrength:
    labels = parts[0].parents if parts else {}
    return LayerStrength(
        layer,
        math.hypot(*(part.merged for part in parts)),
        {label: math.hypot(*(part.parents[label] for part in parts)) for label in labels},
    )
