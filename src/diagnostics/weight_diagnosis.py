"""Layer-wise norms and correlations of the weight changes from fine-tuning and merging, all variants in one pass.

The quantities of the reference study's Figures 2 and 3 (arXiv 2601.21115) are columns of `Diagnosis`, next to their
plain counterparts.

Shapes: K variants, C elements of a block.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import pandas as pd
import torch
from torch import Tensor

from src.checkpoints.compat import tensor_differences
from src.checkpoints.layers import is_weight, locate
from src.diagnostics.diagnosis_tables import correlation_table, layer_table
from src.diagnostics.running_sums import GroupSums
from src.merging.tensors.parent import Parent
from src.utils.errors import UserError, first_differences
from src.utils.progress import track

PAPER_THRESHOLD = 0.3
# 65,536 elements of five series in float64 fit into a core's cache: eight times as fast as blocks of a million.
BLOCK_ELEMENTS = 2**16


@dataclass(frozen=True)
class Diagnosis:
    """Two tidy tables; `layer` and `kind` are `"all"` in the rows that sum over them.

    Args:
        layers: One row per variant, layer and module kind. `l2_mean`: mean over the group's weight tensors of the
            Frobenius norm of the delta (the study's Figure 2); `l2`: norm of the whole group's delta, biases included;
            `base_l2`: of the base's parameters; `relative_l2`: `l2 / base_l2`.
        correlations: One row per pair of variants, layer and module kind, over weight tensors. `pearson` and `cosine`
            of the two deltas; `pearson_thresholded`: after setting to zero, in each tensor, what is below the threshold
            times that tensor's largest magnitude (the study's Figure 3); `sign_conflict`: share, 0-1, of opposite
            signs where both deltas are non-zero.
    """

    layers: pd.DataFrame
    correlations: pd.DataFrame


def diagnose_weights(
    base: Parent,
    variants: Mapping[str, Parent],
    threshold: float = PAPER_THRESHOLD,
    block_elements: int = BLOCK_ELEMENTS,
) -> Diagnosis:
    """Compare every variant with the base block by block; memory use is a few blocks, whatever the model's size.

    Args:
        base: Parent that all variants started from.
        variants: Checkpoints by name, with the tensors and shapes of the base.
        threshold: Share, 0-1, of a tensor's largest magnitude below which the thresholded correlation counts zero.
        block_elements: C, the number of elements read at once.

    Raises:
        UserError: There is no variant, the threshold is outside 0-1, a variant's tensors or shapes differ from the
            base's, or a value is not finite.
    """
    if not variants:
        raise UserError(
            "nothing to compare with the base: give at least one variant, for example specialists.codegen=DIR"
        )
    if not 0 <= threshold <= 1:
        raise UserError(f"threshold must be in 0-1, got {threshold}")
    for name, variant in variants.items():
        differences = tensor_differences(base.table, variant.table, "the base", dtypes=False)
        if differences:
            raise UserError(first_differences(f"{name} does not have the tensors of the base", differences))
    # All sums are allocated first: small long-lived allocations between large temporary ones would fragment the heap.
    sums = {locate(name): GroupSums(len(variants)) for name in base.names}
    for name in track(base.names, "Comparing weights"):
        _add_tensor(sums[locate(name)], name, base, variants, threshold, block_elements)
    return Diagnosis(layer_table(sums, list(variants)), correlation_table(sums, list(variants)))


def _add_tensor(
    group: GroupSums,
    name: str,
    base: Parent,
    variants: Mapping[str, Parent],
    threshold: float,
    block_elements: int,
) -> None:
    elements = prod(base.table[name].shape)
    blocks = [(start, min(start + block_elements, elements)) for start in range(0, elements, block_elements)]
    squares_K, peak_K = torch.zeros(2, len(variants), dtype=torch.float64)
    base_square = 0.0
    for block in blocks:
        base_C, deltas_KC = _read(name, base, variants, block)
        squares_K += deltas_KC.square().sum(dim=1)
        peak_K = torch.maximum(peak_K, deltas_KC.abs().amax(dim=1))
        base_square += float(base_C.square().sum())
    _check_finite(name, list(variants), squares_K)
    group.add_tensor(elements, squares_K, base_square, is_weight(name))
    if is_weight(name):
        # The threshold needs the largest magnitude of the whole tensor, so its blocks are read a second time.
        for block in blocks:
            group.add_weights(_read(name, base, variants, block)[1], threshold * peak_K)


def _read(name: str, base: Parent, variants: Mapping[str, Parent], block: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Elements of the base (C) and all deltas (K, C), in float64, whose rounding error is far below float32's."""
    base_C = base.flat(name, *block).double()
    return base_C, torch.stack([variant.flat(name, *block).double() - base_C for variant in variants.values()])


def _check_finite(tensor: str, variants: list[str], squares_K: Tensor) -> None:
    for variant, finite in zip(variants, squares_K.isfinite().tolist(), strict=True):
        if not finite:
            raise UserError(f"{variant} or its base contains NaN or Inf in tensor {tensor}")
