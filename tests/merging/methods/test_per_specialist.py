"""Densities per specialist: each specialist is sparsified as in a merge where all have its density."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from src.merging.backend.numba_ops import NumbaOps
from tests.merging.tools import Tensors, identical, largest_difference, merge_all, random_family, recipe, write_family

DENSITIES = {"codegen": 0.2, "codesum": 0.7}


def sums(base: Tensors, merged: list[Tensors]) -> Tensors:
    """Base plus the updates of several merges."""
    return {name: base[name] + sum(one[name] - base[name] for one in merged) for name in base}  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("dare", {"density": DENSITIES}),
        ("della_linear", {"density": DENSITIES, "epsilon": {"codegen": 0.1, "codesum": 0.05}}),
        ("breadcrumbs", {"density": DENSITIES, "gamma": {"codegen": 0.0, "codesum": 0.1}}),
        ("breadcrumbs", {"density": {"codegen": 1.0, "codesum": 0.3}}),
    ],
)
def test_a_sum_of_updates_is_that_of_two_merges(tmp_path: Path, name: str, keys: dict[str, Any]) -> None:
    base, specialists = random_family()
    labels = list(DENSITIES)
    alone = [
        recipe(
            name, weights={one: float(one == label) for one in labels}, **{key: by[label] for key, by in keys.items()}
        )
        for label in labels
    ]
    both = recipe(name, weights=dict.fromkeys(labels, 1.0), **keys)
    family = write_family(tmp_path, base, specialists)
    [merged, *parts], _ = merge_all(*family, [both, *alone])
    assert largest_difference(merged, sums(base, parts)) < 1e-6
    [compiled], _ = merge_all(*family, [both], ops=NumbaOps())
    assert identical(merged, compiled)


@pytest.mark.parametrize("trim", ["tensor", "model"])
def test_ties_with_two_densities_by_hand(tmp_path: Path, trim: str) -> None:
    base = {"x": torch.zeros(10)}
    first = {"x": torch.tensor([1.0, -2, 3, -4, 5, -6, 7, -8, 9, -10])}
    second = {"x": torch.tensor([10.0, 9, 8, 7, 6, 5, 4, 3, 2, 1])}
    point = recipe("ties", trim=trim, normalize=False, weights=dict.fromkeys(DENSITIES, 1.0), density=DENSITIES)
    [merged], [outcome] = merge_all(*write_family(tmp_path, base, [first, second]), [point])
    assert merged["x"].tolist() == [10, 9, 8, 7, 6, 5, 4, 0, 9, -10]  # 2 of the first, 7 of the second
    assert outcome.strength[-1].density == DENSITIES


def test_the_reference_implementation_takes_them(tmp_path: Path) -> None:
    base, specialists = random_family()
    points = [recipe("ties", weight=0.3, density=DENSITIES, engine=engine) for engine in ("own", "mergekit")]
    [ours, theirs], _ = merge_all(*write_family(tmp_path, base, specialists), points)
    assert largest_difference(ours, theirs) < 5e-7
