"""Tidy tables built from running sums.

Shapes: F families of series, K variants.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from src.checkpoints.layers import KINDS, Location
from src.diagnostics.chance import by_chance
from src.diagnostics.running_sums import Doubles, GroupSums

Groups = Mapping[tuple[str, str], GroupSums]
_LAYER_COLUMNS = [
    *("variant", "layer", "kind", "tensors", "elements", "l2_mean", "l2", "base_l2", "relative_l2", "rms"),
    *("effective_rank", "stable_rank"),
]
_PAIR_COLUMNS = ["first", "second", "layer", "kind"]
_SURVIVAL_COLUMNS = ["merge", "specialist", "layer", "kind", "share", "coefficient", "unexplained"]


def all_groups(sums: Mapping[Location, GroupSums]) -> dict[tuple[str, str], GroupSums]:
    """Sums by (layer, kind) from input to output, each layer followed by its `"all"`, and the whole model last."""
    groups: dict[tuple[str, str], GroupSums] = {}
    ordered = sorted(sums, key=lambda where: (where.order, KINDS.index(where.kind)))
    families, variants = sums[ordered[0]].moments.mean_FK.shape
    for where in ordered:
        for layer in (where.layer, "all"):
            for kind in (where.kind, "all"):
                if (layer, kind) not in groups:
                    groups[layer, kind] = GroupSums(families, variants)
                groups[layer, kind].merge(sums[where])
    layers = [*dict.fromkeys(where.layer for where in ordered), "all"]
    order = [(layer, kind) for layer in layers for kind in (*KINDS, "all")]
    return {key: groups[key] for key in order if key in groups}


def layer_table(groups: Groups, variants: Sequence[str]) -> pd.DataFrame:
    """Build `Diagnosis.layers`: variants in the given order, layers from input to output, then `"all"`."""
    rows = [
        [variant, layer, kind, *_norms(group, index)]
        for index, variant in enumerate(variants)
        for (layer, kind), group in groups.items()
    ]
    return pd.DataFrame(rows, columns=_LAYER_COLUMNS)


def correlation_table(groups: Groups, variants: Sequence[str], cuts: Sequence[str]) -> pd.DataFrame:
    """Build `Diagnosis.correlations`: every pair of variants once; groups without weight tensors are left out.

    Args:
        groups: From `all_groups`.
        variants: K names.
        cuts: Name of each threshold.
    """
    tables = {key: _similarities(group, cuts) for key, group in groups.items() if group.weight_tensors}
    rows = [
        [variants[i], variants[j], layer, kind, *(float(matrix_KK[i, j]) for matrix_KK in found.values())]
        for i, j in combinations(range(len(variants)), 2)
        for (layer, kind), found in tables.items()
    ]
    return pd.DataFrame(rows, columns=[*_PAIR_COLUMNS, *_similarity_names(cuts)])


def chance_table(groups: Groups, variants: Sequence[str], cuts: Sequence[str]) -> pd.DataFrame:
    """Build `Diagnosis.chance`, one row per value of `correlation_table` that has one."""
    rows = []
    for (layer, kind), group in groups.items():
        if not group.weight_tensors:
            continue
        values, chance = _similarities(group, cuts), by_chance(group)
        named = {"sign_conflict": chance["sign_conflict"][0], "top_overlap": chance["top_overlap"][0]}
        for name in ("pearson", "cosine"):
            named |= {name: chance[name][0]} | {f"{name}_{cut}": chance[name][3 + t] for t, cut in enumerate(cuts)}
        for i, j in combinations(range(len(variants)), 2):
            place = [variants[i], variants[j], layer, kind]
            rows += [[*place, name, float(values[name][i, j]), *found.row(i, j)] for name, found in named.items()]
            if group.spectra.matrices:
                expected = group.spectra.chance / group.spectra.matrices
                overlap = float(values["subspace_overlap"][i, j])
                rows.append([*place, "subspace_overlap", overlap, expected, np.nan, np.nan])
    table = pd.DataFrame(rows, columns=[*_PAIR_COLUMNS, "metric", "value", "chance", "low", "high"])
    names = list(variants)
    return table.sort_values(
        ["first", "second"], key=lambda column: column.map(names.index), kind="stable"
    ).reset_index(drop=True)


def survival_table(
    groups: Groups, variants: Sequence[str], specialists: Sequence[str], merges: Sequence[str]
) -> pd.DataFrame:
    """Build `Diagnosis.survival`: every merge and specialist, over weight tensors."""
    rows = [
        [merge, specialist, layer, kind, *values]
        for merge in merges
        for (layer, kind), group in groups.items()
        if specialists and group.weight_tensors
        for specialist, values in zip(
            specialists,
            _survival(
                group.moments.product_FKK[0], variants.index(merge), [variants.index(name) for name in specialists]
            ),
            strict=True,
        )
    ]
    return pd.DataFrame(rows, columns=_SURVIVAL_COLUMNS)


def _survival(product_KK: Doubles, merge: int, specialists: Sequence[int]) -> Iterator[list[float]]:
    gram, along = product_KK[np.ix_(specialists, specialists)], product_KK[merge, specialists]
    coefficients = np.linalg.lstsq(gram, along, rcond=1e-12)[0]
    whole = float(product_KK[merge, merge])
    unexplained = max(0.0, 1 - float(coefficients @ along) / whole) if whole else float("nan")
    for own, dot, coefficient in zip(gram.diagonal(), along, coefficients, strict=True):
        yield [float(dot / own) if own else float("nan"), float(coefficient) if own else float("nan"), unexplained]


def _similarity_names(cuts: Sequence[str]) -> list[str]:
    return [
        *("pearson", "cosine", "sign_conflict", "top_overlap", "subspace_overlap", "subspace_cosine"),
        *(f"{name}_{cut}" for cut in cuts for name in ("pearson", "cosine")),
    ]


def _similarities(group: GroupSums, cuts: Sequence[str]) -> dict[str, Doubles]:
    pearson, cosine, product_FKK = group.moments.pearson(), group.moments.cosine(), group.moments.product_FKK
    spectra, count_FKK = group.spectra, np.rint(product_FKK)  # signs and marks are counted
    with np.errstate(divide="ignore", invalid="ignore"):
        found = [
            pearson[0],
            cosine[0],
            (1 - count_FKK[1] / count_FKK[2]) / 2,
            count_FKK[-1] / group.smaller_top_KK,
            spectra.overlap_KK / np.float64(spectra.matrices),
            spectra.cosine_KK / np.float64(spectra.matrices),
        ]
    for t in range(3, 3 + len(cuts)):
        found += [pearson[t], cosine[t]]
    return dict(zip(_similarity_names(cuts), found, strict=True))


def _norms(group: GroupSums, index: int) -> list[float]:
    l2, base_l2 = float(group.squares_K[index]) ** 0.5, group.base_square**0.5
    spectra, nan = group.spectra, float("nan")
    return [
        group.tensors,
        group.elements,
        float(group.norms_K[index]) / group.weight_tensors if group.weight_tensors else nan,
        l2,
        base_l2,
        l2 / base_l2 if base_l2 else nan,
        l2 / group.elements**0.5 if group.elements else nan,
        float(spectra.effective_rank_K[index]) / spectra.matrices if spectra.matrices else nan,
        float(spectra.stable_rank_K[index]) / spectra.matrices if spectra.matrices else nan,
    ]
