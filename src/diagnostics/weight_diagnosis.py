"""Layer-wise norms and similarities of the weight changes from fine-tuning and merging, all variants in one pass.

The quantities of the reference study's Figures 2 and 3 (arXiv 2601.21115) are columns of `Diagnosis`, next to their
plain counterparts.

Shapes: K variants.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from src.checkpoints.compat import tensor_differences
from src.checkpoints.layers import Location, is_weight, locate
from src.diagnostics.block_sums import BlockSums, TorchBlockSums
from src.diagnostics.diagnosis_tables import all_groups, chance_table, correlation_table, layer_table, survival_table
from src.diagnostics.running_sums import Doubles, GroupSums, SpectralSums
from src.diagnostics.spectra import Spectrum, overlap_by_chance, spectrum, subspace_overlap
from src.diagnostics.tensor_sums import Blocks, TensorSums, tensor_sums
from src.merging.tensors.parent import Parent
from src.utils.errors import UserError, first_differences
from src.utils.progress import track
from src.utils.seeding import derive_seed
from src.utils.validation import checked_dataclass

WORTH_COMPILING = 50_000_000  # elements times variants; below this, loading the compiler takes longer than it saves
WITHOUT_SPECTRUM = ("embeddings", "lm_head")  # their rows are tokens, and few of them move


@checked_dataclass()
class DiagnosisSettings:
    """What is measured, and how finely.

    Args:
        threshold: Share of a tensor's largest magnitude below which `pearson_thresholded` counts zero (the study: 0.3).
        extra_thresholds: Further ones; 0.1 gives the columns `pearson_0.1` and `cosine_0.1`.
        top_share: Share of a tensor's elements that are its largest, for `top_overlap`.
        spectra_rank: Directions of the leading subspaces; 0: no subspaces and no effective rank.
    """

    threshold: Annotated[float, Field(ge=0, le=1)] = 0.3
    extra_thresholds: Sequence[Annotated[float, Field(ge=0, le=1)]] = (0.1,)
    top_share: Annotated[float, Field(gt=0, le=1)] = 0.01
    spectra_rank: Annotated[int, Field(ge=0)] = 16

    @property
    def cuts(self) -> dict[str, float]:
        """Thresholds by the name that ends their columns."""
        return {"thresholded": self.threshold} | {f"{value:g}": value for value in self.extra_thresholds}


@dataclass(frozen=True)
class Diagnosis:
    """Four tidy tables; `layer` and `kind` are `"all"` in the rows that sum over them.

    Args:
        layers: One row per variant, layer and module kind. `l2_mean`: mean over the group's weight tensors of the
            Frobenius norm of the delta (the study's Figure 2); `l2`: norm of the whole group's delta, biases included;
            `base_l2`: of the base's parameters; `relative_l2`: `l2 / base_l2`; `rms`: root mean square of the delta;
            `effective_rank`, `stable_rank`: see `Spectrum`, means over matrices without embeddings and head.
        correlations: One row per pair of variants, layer and module kind, over weight tensors. `pearson` and `cosine`
            of the two deltas; `*_thresholded` and `*_0.1`: after setting to zero, in each tensor, what is below the
            threshold times that tensor's largest magnitude (0.3: the study's Figure 3); `sign_conflict`: share, 0-1, of
            opposite signs where both deltas are non-zero; `top_overlap`: share, 0-1, of the largest elements of one
            that are among the largest of the other, magnitudes truncated to bfloat16 and ties included (divided by the
            smaller set); `subspace_overlap`, `subspace_cosine`: see `subspace_overlap`, means over matrices.
        chance: For those values, what shuffling one delta within its tensors gives: `chance`, its mean, and `low` and
            `high`, the bounds of its central 95 %.
        survival: One row per merge, specialist, layer and module kind, over weight tensors. `share` of the specialist's
            delta that the merge keeps along its direction; `coefficient`: the same if the merge is written as a sum of
            the specialists' deltas (least squares), and `unexplained`, the share of its squared norm outside that sum.
    """

    layers: pd.DataFrame
    correlations: pd.DataFrame
    chance: pd.DataFrame
    survival: pd.DataFrame


def diagnose_weights(
    base: Parent,
    variants: Mapping[str, Parent],
    settings: DiagnosisSettings | None = None,
    specialists: Sequence[str] = (),
    merges: Sequence[str] = (),
    ops: BlockSums | None = None,
) -> Diagnosis:
    """Compare every variant with the base block by block.

    Memory use is a few blocks, whatever the model's size, and one matrix of base and variant for its spectrum.

    Args:
        base: Parent that all variants started from.
        variants: Checkpoints by name, with the tensors and shapes of the base.
        settings: What is measured.
        specialists: Variants whose share in the merges is measured.
        merges: Variants that are merges of them.
        ops: Arithmetic, in torch or compiled; None picks the faster. Results are equal up to rounding in float64.

    Raises:
        UserError: There is no variant, a setting is out of its range, a variant's tensors or shapes differ from the
            base's, or a value is not finite.
    """
    settings = settings or DiagnosisSettings()
    if not variants:
        raise UserError(
            "nothing to compare with the base: give at least one variant, for example specialists.codegen=DIR"
        )
    for name, variant in variants.items():
        differences = tensor_differences(base.table, variant.table, "the base", dtypes=False)
        if differences:
            raise UserError(first_differences(f"{name} does not have the tensors of the base", differences))
    names = list(variants)
    groups = all_groups(_running_sums(base, variants, settings, ops))
    cuts = list(settings.cuts)
    return Diagnosis(
        layer_table(groups, names),
        correlation_table(groups, names, cuts),
        chance_table(groups, names, cuts),
        survival_table(groups, names, specialists, merges),
    )


def _running_sums(
    base: Parent, variants: Mapping[str, Parent], settings: DiagnosisSettings, ops: BlockSums | None
) -> dict[Location, GroupSums]:
    ops = ops or _choose_ops(sum(info.numel for info in base.table.values()) * len(variants))
    thresholds = list(settings.cuts.values())
    # All sums are allocated first: small long-lived allocations between large temporary ones would fragment the heap.
    sums = {locate(name): GroupSums(len(thresholds) + 4, len(variants)) for name in base.names}
    following = dict(itertools.pairwise(base.names))
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        blocks = Blocks(base, list(variants.values()), ops.block, pool)
        for name in track(base.names, "Comparing weights"):
            for parent in blocks.parents:
                parent.prefetch(following.get(name, name))
            blocks.open(name)
            found = tensor_sums(blocks, ops, thresholds, settings.top_share, is_weight(name))
            _check_finite(name, list(variants), found.squares_K)
            _add(sums[locate(name)], found)
            if settings.spectra_rank and _has_spectrum(base, name) and found.squares_K.any():
                spectra = _spectra(name, base, variants, found.squares_K, settings.spectra_rank)
                sums[locate(name)].spectra.merge(spectra)
    return sums


def _choose_ops(work: int) -> BlockSums:
    if work < WORTH_COMPILING or importlib.util.find_spec("numba") is None:
        return TorchBlockSums()
    from src.diagnostics.numba_block_sums import NumbaBlockSums

    return NumbaBlockSums()


def _add(group: GroupSums, found: TensorSums) -> None:
    group.add_tensor(found.elements, found.squares_K, found.base_square)
    if found.moments is not None:
        group.add_weights(found.moments)


def _has_spectrum(base: Parent, name: str) -> bool:
    shape = base.table[name].shape
    return is_weight(name) and len(shape) == 2 and min(shape) > 1 and locate(name).kind not in WITHOUT_SPECTRUM


def _spectra(name: str, base: Parent, variants: Mapping[str, Parent], squares_K: Doubles, rank: int) -> SpectralSums:
    """Those of one matrix; a variant that leaves it as it is has rank 0 and no direction in common."""
    start, found, sums = base.tensor(name), list[Spectrum | None](), SpectralSums(len(variants))
    for (label, variant), square in zip(variants.items(), squares_K, strict=True):
        delta = variant.tensor(name).float()
        delta -= start
        # Probes that two variants share would pull their subspaces together where no direction leads.
        seed = derive_seed("spectrum", name, label)
        found.append(spectrum(delta, float(square), rank, seed) if square else None)
    sums.matrices, sums.chance = 1, overlap_by_chance((start.shape[0], start.shape[1]), rank)
    for i, one in enumerate(found):
        sums.effective_rank_K[i] = one.effective_rank if one else 0
        sums.stable_rank_K[i] = one.stable_rank if one else 0
        for j, other in enumerate(found[:i]):
            if one and other:
                overlap = subspace_overlap(one, other)
                sums.overlap_KK[[i, j], [j, i]], sums.cosine_KK[[i, j], [j, i]] = overlap
    return sums


def _check_finite(tensor: str, variants: list[str], squares_K: Doubles) -> None:
    for variant, finite in zip(variants, np.isfinite(squares_K).tolist(), strict=True):
        if not finite:
            raise UserError(f"{variant} or its base contains NaN or Inf in tensor {tensor}")
