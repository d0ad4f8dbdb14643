"""SCE against mergekit, consensus masks by hand."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from src.merging.backend.numba_ops import NumbaOps
from src.merging.backend.torch_ops import TorchOps
from src.utils.errors import UserError
from tests.merging.tools import identical, largest_difference, merge_all, merge_one, random_family, recipe, write_family

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from mergekit.merge_methods.api import merge_tensors


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("select", [1.0, 0.5, 0.1])
def test_sce(tmp_path: Path, count: int, select: float) -> None:
    base, specialists = random_family(count)
    ours = merge_one(tmp_path, base, specialists, recipe("sce", select=select))
    theirs = {
        name: merge_tensors(
            [base[name], *(one[name] for one in specialists)], "sce", parameters={"select_topk": select}, base_index=0
        )
        for name in base
    }
    differing = sum(int((ours[n] - theirs[n]).abs().gt(1e-6).sum()) for n in base)
    assert differing <= 2  # a variance that rounds to the other side of the limit


def test_sce_by_hand(tmp_path: Path) -> None:
    """Updates [1, 2, 0] and [1, -2, 4]: variances 0, 4, 4; half of the two that vary is one, the first."""
    base = {"x": torch.zeros(3)}
    updates = [{"x": torch.tensor([1.0, 2.0, 0.0])}, {"x": torch.tensor([1.0, -2.0, 4.0])}]
    kept = merge_one(tmp_path / "half", base, updates, recipe("sce", select=0.5))
    assert kept["x"].tolist() == pytest.approx([0, 2, 0])  # the tied sign elects +, so the first alone
    # energies: 5 and 21
    every = merge_one(tmp_path / "all", base, updates, recipe("sce", select=1.0))
    assert every["x"].tolist() == pytest.approx([1, 2, 4])
    assert merge_one(tmp_path / "none", base, updates, recipe("sce", select=0.1))["x"].tolist() == [0, 0, 0]


def test_sce_of_small_updates_weighs_by_energy(tmp_path: Path) -> None:
    """A case in which mergekit's floor on the mean squares would fall back to equal weights."""
    base = {"x": torch.zeros(2)}
    updates = [{"x": torch.tensor([3e-5, 3e-5])}, {"x": torch.tensor([1e-5, 1e-5])}]
    merged = merge_one(tmp_path, base, updates, recipe("sce"))["x"]
    assert merged.tolist() == pytest.approx([2.8e-5, 2.8e-5])  # (0.9 * 3 + 0.1 * 1) e-5
    zero = merge_one(tmp_path / "zero", base, [base, base], recipe("sce"))["x"]
    assert zero.tolist() == [0, 0]


def test_consensus_by_hand(tmp_path: Path) -> None:
    """Coefficients 1: totals [4, -1, 0.5]. Task one does not need the first element, since 1 < 0.4 * 3."""
    base = {"x": torch.zeros(3)}
    updates = [{"x": torch.tensor([1.0, -2.0, 0.5])}, {"x": torch.tensor([3.0, 1.0, 0.0])}]
    ones = {"codegen": 1.0, "codesum": 1.0}
    both = merge_one(tmp_path / "2", base, updates, recipe("consensus", weights=ones, threshold=0.4, agree=2))
    assert both["x"].tolist() == [0, -1, 0]
    any_task = merge_one(tmp_path / "1", base, updates, recipe("consensus", weights=ones, agree=1, lambda_=0.5))
    assert any_task["x"].tolist() == [2, -0.5, 0.25]


def test_consensus_without_masks_is_task_arithmetic(tmp_path: Path) -> None:
    points = [recipe("consensus", weight=0.3, agree=0), recipe("task_arithmetic", weight=0.3)]
    [masked, plain], _ = merge_all(*write_family(tmp_path, *random_family()), points)
    assert largest_difference(masked, plain) == 0


@pytest.mark.parametrize(
    ("name", "keys", "message"),
    [
        ("sce", {"select": 0}, "merge.select must be above 0, got 0"),
        ("sce", {"select": 2}, "merge.select must be at most 1, got 2"),
        ("consensus", {"threshold": -1}, "merge.threshold must be at least 0, got -1"),
        ("consensus", {"agree": "all"}, "merge.agree must be an integer, got 'all'"),
        ("consensus", {"lambda": "x"}, "merge.lambda must be a number"),
    ],
)
def test_bad_values(name: str, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        recipe(name, **keys)


def test_more_agreement_than_tasks(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"merge.agree=3 exceeds .*\(2\)"):
        merge_one(tmp_path, *random_family(), recipe("consensus", agree=3))


def test_compiled_and_threads(tmp_path: Path) -> None:
    parents = write_family(tmp_path, *random_family(3, torch.bfloat16))
    points = [recipe("sce", select=0.3), recipe("sce"), recipe("consensus")]
    plain, _ = merge_all(*parents, points, workers=1, ops=TorchOps())
    fused, _ = merge_all(*parents, points, workers=3, ops=NumbaOps())
    assert all(identical(left, right) for left, right in zip(plain, fused, strict=True))
