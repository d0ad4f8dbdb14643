"""Elements at given ranks of the whole model; no tensor has to stay in memory.

Legend: K functions of a block.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from src.merging.backend.selection import LEVELS, Counts, Place, Prefixes, Selected, select
from src.merging.tensors.blocks import BlockFunction
from src.merging.tensors.parent_model import ParentModel
from src.merging.tensors.parent_tensors import ParentTensors


@dataclass(frozen=True)
class ModelRanked:
    """An element at a rank of the whole model.

    Args:
        magnitude: |x|.
        tensor: Name of its tensor.
        index: Its position there, in storage order.
    """

    magnitude: float
    tensor: str
    index: int


def ask(model: ParentModel, key: Any, places: Iterable[Place]) -> None:
    """Name places before any is looked up, so that the same passes find them for all points of a grid."""
    model.once(("asked", key), set[Place]).update(places)


def model_magnitudes(
    model: ParentModel, key: Any, values: Sequence[BlockFunction], places: Sequence[Place]
) -> dict[Place, float]:
    """Magnitudes at given ranks of the whole model.

    Args:
        model: The tensors.
        key: Identifies the values; histograms are computed once per key.
        values: K functions of a block; all of them are read in the same passes.
        places: Index of a function, and a rank, 0 for the smallest magnitude.
    """
    return {place: found.magnitude for place, found in _select(model, key, values, places).items()}


def model_largest(
    model: ParentModel, key: Any, values: Sequence[BlockFunction], counts: Sequence[int]
) -> list[ModelRanked]:
    """Last of the largest elements of each function.

    Args:
        model: The tensors. Equal magnitudes rank in the order of their names, then in storage order.
        key: See `model_magnitudes`.
        values: K functions of a block.
        counts: Number of the largest elements of each, at least 1.
    """
    places = places_of_largest(model, counts)
    found = _select(model, key, values, places)
    return [_locate(model, values[place[0]], found[place]) for place in places]


def places_of_largest(model: ParentModel, counts: Sequence[int]) -> list[Place]:
    """Places of the last of the `counts` largest elements of each function."""
    return [(k, model.numel - count) for k, count in enumerate(counts)]


def _select(
    model: ParentModel, key: Any, values: Sequence[BlockFunction], places: Sequence[Place]
) -> dict[Place, Selected]:
    def histograms(shift: int, width: int, wanted: Prefixes) -> dict[tuple[int, int], Counts]:
        count = partial(_histograms, model, values, shift, width, wanted)
        return model.once(("histograms", key, shift, wanted), count)

    every = tuple(sorted(model.once(("asked", key), set[Place]) | set(places)))
    return model.once(("selected", key, every), lambda: select(every, histograms))


def _histograms(
    model: ParentModel, values: Sequence[BlockFunction], shift: int, width: int, wanted: Prefixes
) -> dict[tuple[int, int], Counts]:
    whole = np.zeros((len(wanted), 1 << width), np.int64)
    rows: list[NDArray[np.int32]] = []  # of every tensor; read only in the last pass

    def count(tensors: ParentTensors) -> None:
        parts = tensors.map(
            lambda block: [model.ops.count_bits(block, values[k], shift, width, prefix) for k, prefix in wanted]
        )
        counts: NDArray[np.int64] = np.sum(np.stack(parts), axis=0)
        np.add(whole, counts, out=whole)
        if shift == 0:
            rows.append(counts.astype(np.int32))

    number = 1 + [level[0] for level in LEVELS].index(shift)
    model.map_tensors(count, f"ranking all parameters, pass {number} of {len(LEVELS)}")
    found = np.stack(rows, axis=1) if rows else whole[:, None]
    return dict(zip(wanted, found, strict=True))


def _locate(model: ParentModel, values: BlockFunction, found: Selected) -> ModelRanked:
    number, nth = found.part(descending=True)

    def equal(tensors: ParentTensors) -> torch.Tensor:
        parts = tensors.map(
            lambda block: block.start + (values(block).abs() == found.magnitude).nonzero().reshape(-1).cpu()
        )
        return torch.cat(parts)

    name = model.names[number]
    [indices] = model.map_tensors(equal, f"ranking {name}", [name])
    return ModelRanked(found.magnitude, name, int(indices[nth]))
