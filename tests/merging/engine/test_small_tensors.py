"""Many small tensors, such as experts: none is handed to another thread; and tensors without any elements."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from src.merging.tensors.parent_tensors import INLINE
from src.merging.tensors.reductions import UNIT, deterministic_product_sums, deterministic_sums, tree_sum
from tests.merging.tools import NAMES, merge_one, random_family, recipe

FEW = {"wudi": {"iterations": 3}}  # steps
METHODS = [name for name in NAMES if name not in ("fisher", "regmean", "mergekit")]


@pytest.mark.parametrize("method", METHODS)
def test_small_tensors_stay_in_the_calling_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    base, specialists = random_family()
    for parent in (base, *specialists):
        del parent["model.layers.0.mlp.down_proj.weight"]  # the only large one
    assert max(tensor.numel() for tensor in base.values()) <= INLINE

    def submit(*_: object) -> None:
        raise AssertionError("a small tensor was handed to a thread")

    monkeypatch.setattr(ThreadPoolExecutor, "submit", submit)
    assert merge_one(tmp_path, base, specialists, recipe(method, **FEW.get(method, {}))).keys() == base.keys()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (0,), ()])
def test_empty_tensors_and_scalars(tmp_path: Path, method: str, shape: tuple[int, ...]) -> None:
    base, specialists = random_family()
    for parent in (base, *specialists):
        parent["model.extra.weight"] = torch.full(shape, 1.5)
    merged = merge_one(tmp_path, base, specialists, recipe(method, **FEW.get(method, {})))
    assert merged["model.extra.weight"].shape == shape


@pytest.mark.parametrize("count", [1, 2, 3, 17, 256, 2048, 2049, UNIT - 1, UNIT, UNIT + 1])
def test_sums_of_few_values_are_those_of_values_padded_with_zeros(count: int) -> None:
    values = torch.randn(count, generator=torch.Generator().manual_seed(count))
    padded = torch.nn.functional.pad(values.double(), (0, -count % UNIT)).reshape(-1, UNIT)
    assert deterministic_sums(values, 1) == tree_sum(padded.abs()).tolist()
    assert deterministic_sums(values, 2) == tree_sum(padded.square()).tolist()
    assert deterministic_product_sums(values, values) == tree_sum(padded * padded).tolist()
