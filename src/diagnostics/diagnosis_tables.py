"""Tidy tables built from running sums."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import pandas as pd

from src.checkpoints.layers import KINDS, Location
from src.diagnostics.running_sums import GroupSums

_LAYER_COLUMNS = (
    ["variant", "layer", "kind", "tensors", "elements", "l2_mean", "l2", "base_l2", "relative_l2"]
)  # fmt: skip
_PAIR_COLUMNS = ["first", "second", "layer", "kind", "pearson", "pearson_thresholded", "cosine", "sign_conflict"]


def layer_table(sums: Mapping[Location, GroupSums], variants: list[str]) -> pd.DataFrame:
    """Build `Diagnosis.layers`: variants in the given order, layers from input to output, then `"all"`."""
    groups = _with_sums(sums, len(variants))
    rows = [
        [variant, layer, kind, *_norms(group, index)]
        for index, variant in enumerate(variants)
        for (layer, kind), group in groups.items()
    ]
    return pd.DataFrame(rows, columns=_LAYER_COLUMNS)


def correlation_table(sums: Mapping[Location, GroupSums], variants: list[str]) -> pd.DataFrame:
    """Build `Diagnosis.correlations`: every pair of variants once; groups without weight tensors are left out."""
    pairs = list(combinations(range(len(variants)), 2))
    rows = []
    for (layer, kind), group in _with_sums(sums, len(variants)).items():
        if not group.weight_tensors:
            continue
        matrices = [group.raw.pearson(), group.thresholded.pearson(), group.raw.cosine(), group.signs.conflict()]
        for i, j in pairs:
            values = [float(matrix[i, j]) for matrix in matrices]
            rows.append([variants[i], variants[j], layer, kind, *values])
    table = pd.DataFrame(rows, columns=_PAIR_COLUMNS)
    return table.sort_values(
        ["first", "second"], key=lambda names: names.map(variants.index), kind="stable"
    ).reset_index(drop=True)


def _norms(group: GroupSums, index: int) -> list[float]:
    l2, base_l2 = float(group.squares_K[index]) ** 0.5, group.base_square**0.5
    mean = float(group.norms_K[index]) / group.weight_tensors if group.weight_tensors else float("nan")
    return [group.tensors, group.elements, mean, l2, base_l2, l2 / base_l2 if base_l2 else float("nan")]


def _with_sums(sums: Mapping[Location, GroupSums], variants: int) -> dict[tuple[str, str], GroupSums]:
    """Sums by (layer, kind) from input to output, each layer followed by its `"all"`, and the whole model last."""
    groups: dict[tuple[str, str], GroupSums] = {}
    ordered = sorted(sums, key=lambda where: (where.order, KINDS.index(where.kind)))
    layers = list(dict.fromkeys(where.layer for where in ordered))
    for layer in [*layers, "all"]:
        for kind in [*KINDS, "all"]:
            members = [w for w in ordered if layer in (w.layer, "all") and kind in (w.kind, "all")]
            if members:
                group = groups[layer, kind] = GroupSums(variants)
                for member in members:
                    group.merge(sums[member])
    return groups
