"""One grid point during a pass: its output, its realized strength, and its error if it fails.

Realized strength is how far a merge moved from the base, compared with its parents.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

import torch

from src.checkpoints import TensorInfo
from src.checkpoints.layers import locate
from src.merging.engine.outputs import Receiver, Sink, ToDirectory
from src.merging.methods.rule import ReportingFunction
from src.merging.recipe import Recipe
from src.merging.resolved import ResolvedRecipe
from src.merging.tensors.blocks import Block, BlockFunction, PointMerge
from src.merging.tensors.parent import Parent
from src.merging.tensors.parent_model import ParentModel
from src.merging.tensors.parent_tensors import ParentTensors
from src.runs.file_hashes import FileState
from src.utils.errors import UserError
from src.utils.files import sha256_json

# the smallest float32 values that are rounded to infinity
_OVERFLOW = {torch.bfloat16: float.fromhex("0x1.ffp127"), torch.float16: 65520.0}
_BITS = {torch.float32: torch.int32, torch.bfloat16: torch.int16, torch.float16: torch.int16}


@dataclass(frozen=True)
class Norms:
    """Frobenius norms of one tensor's merged delta and of its parents' deltas, and what its method did with it.

    Args:
        merged: Norm of the merged delta.
        parents: Norm of every specialist's delta.
        numel: Number of elements.
        kept: Elements of every specialist's delta that were kept and are not 0; empty if nothing is selected.
        fallback: See `ReportingFunction`.
    """

    merged: float
    parents: dict[str, float]
    numel: int = 0
    kept: dict[str, int] = field(default_factory=dict)
    fallback: bool = False


@dataclass(frozen=True)
class LayerStrength:
    """One layer of a merge.

    Args:
        layer: `embed_tokens`, `layers.0`, ... (see `src.checkpoints.layers`), or `all`.
        merged: Norm of the merged delta.
        parents: Norms of the specialists' deltas.
        density: Fraction of each specialist's delta that was kept and is not 0; empty if the method selects nothing.
    """

    layer: str
    merged: float
    parents: dict[str, float]
    density: dict[str, float]


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
        self.waits = isinstance(sink, ToDirectory) and sink.direct  # for the disk, in `write`
        self._table = merged_table(base, recipe)
        self._exits = ExitStack()
        self._norms: dict[str, Norms] = {}
        self._wanted: set[str] = set()
        self._not_finite: dict[int, int] = {}  # by the first element of the block
        self._receiver: Receiver
        try:
            self._resolved = ResolvedRecipe(recipe, labels, tuple(self._table), self.merged_names())
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

    @property
    def needs_model(self) -> bool:
        """True if `look_at` has to be called before any tensor is merged."""
        return bool(self._wanted) and self._resolved.needs_model

    def merged_names(self) -> tuple[str, ...]:
        """Tensors that the method merges: floating point, and not excluded."""
        return tuple(name for name in self._table if self.is_floating(name) and not self.recipe.excludes(name))

    def ask(self, model: ParentModel) -> None:
        """Let the method name what it will look up in the model."""
        self._resolved.ask(model)

    def look_at(self, model: ParentModel) -> None:
        """Show the method all tensors that it merges."""
        try:
            self._resolved.look_at(model)
        except UserError as error:
            self.error = error
            self.close()

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
        resolved, name = self._resolved, tensors.name
        merge: BlockFunction = self._base_values
        if not self.recipe.excludes(name):
            try:
                merge = resolved.rule_for(name).prepare(tensors, resolved.coefficients_for(name))
            except UserError as error:
                self.error = error
                self.close()
                return None
        return PointMerge(index, merge, resolved.returns_weights, self.output_dtype(name))

    def _base_values(self, block: Block) -> torch.Tensor:
        return block.base if self._resolved.returns_weights else torch.zeros_like(block.base)

    def matching_factor(self, tensors: ParentTensors, norm: float) -> float:
        """Factor that gives the merged delta the weighted mean norm of its parents' deltas."""
        if norm == 0:  # as that of a tensor that is not merged
            return 1.0
        coefficients = self._resolved.coefficients_for(tensors.name)
        total = math.fsum(map(abs, coefficients))
        if total == 0:
            return 1.0
        target = math.fsum(
            abs(coefficient) * parent for coefficient, parent in zip(coefficients, tensors.norms(), strict=True)
        )
        return target / total / norm

    def write(self, name: str, start: int, values: torch.Tensor, largest: float | None = None) -> None:
        """Cast and write a block, whose largest magnitude may be known; called from several threads."""
        if self.error is not None:
            return
        stored = values.to(self.output_dtype(name))
        if not (is_finite(stored) if largest is None else largest < _OVERFLOW.get(stored.dtype, math.inf)):
            self._not_finite[start] = max(int((~torch.isfinite(stored)).sum()), 1)
        try:
            self._receiver.write_part(name, start, stored)
        except UserError as error:
            self.error = error

    def copy(self, tensors: ParentTensors) -> None:
        """Copy an integer tensor from the base."""
        self.write(tensors.name, 0, tensors.shared())
        self.done(tensors, 0.0)

    def done(self, tensors: ParentTensors, norm: float, merge: BlockFunction | None = None) -> None:
        """Finish a tensor, which `merge` has merged; None if it was copied."""
        bad = sum(self._not_finite.values())
        self._not_finite.clear()
        if bad and self.error is None:
            dtype = str(self.output_dtype(tensors.name)).removeprefix("torch.")
            way_out = "set merge.dtype=float32" if dtype != "float32" else "lower the coefficients or merge.lambda"
            self.error = UserError(
                f"merge={self.recipe.method}: {bad} values of {tensors.name} are NaN or infinite in {dtype}; {way_out}"
            )
        if self.error is None:
            norms = _norms(tensors, norm, merge)
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

    def fallbacks(self) -> list[str]:
        """Matrices to which the method does not apply, sorted."""
        return sorted(name for name, norms in self._norms.items() if norms.fallback)

    def states(self) -> Mapping[str, FileState]:
        """Files that were hashed while they were written; empty if the point failed."""
        return {} if self.error else self._receiver.states


def is_finite(values: torch.Tensor) -> bool:
    """True if no value is NaN or infinite, told by the exponent bits: twice a maximum, the fastest thing that tells."""
    if values.device.type != "cpu" or values.dtype not in _BITS or values.numel() == 0:
        return bool(torch.isfinite(values).all()) if values.is_floating_point() else True
    infinite = torch.tensor(math.inf, dtype=values.dtype).view(_BITS[values.dtype]).item()
    sign = 1 << (8 * values.itemsize - 1)
    bits = values.contiguous().view(_BITS[values.dtype]).numpy()  # as signed the positive, as unsigned the negative
    return int(bits.max()) < infinite and int(bits.view(f"u{values.itemsize}").max()) < sign + infinite


def _norms(tensors: ParentTensors, norm: float, merge: BlockFunction | None) -> Norms:
    parents = dict(zip(tensors.labels, tensors.norms(), strict=True))
    if not isinstance(merge, ReportingFunction):
        return Norms(norm, parents, tensors.numel)
    kept = dict(zip(tensors.labels, merge.kept() or (), strict=False))
    return Norms(norm, parents, tensors.numel, kept, merge.fallback and len(tensors.shape) > 1)


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
        {label: _density(label, parts) for label in labels if any(part.kept for part in parts)},
    )


def _density(label: str, parts: list[Norms]) -> float:
    return sum(part.kept.get(label, part.numel) for part in parts) / max(sum(part.numel for part in parts), 1)
