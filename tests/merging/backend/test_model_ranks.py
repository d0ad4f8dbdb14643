"""Ranks over the whole model: against a sort of all values, with either arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from src.merging.backend.model_ranks import ModelRanked, model_largest, model_magnitudes
from src.merging.backend.numba_ops import NumbaOps
from src.merging.backend.torch_ops import TorchOps
from src.merging.tensors.blocks import Delta
from src.merging.tensors.parent_model import ParentModel
from src.merging.tensors.parent_tensors import ParentTensors
from tests.merging.tools import random_family, write_family


@pytest.fixture(params=[TorchOps, NumbaOps])
def model(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ParentModel]:
    """Deltas in steps of 1/64, so that many tie, and one specialist that did not move at all."""
    base, [one, _] = random_family()
    base = {name: (tensor * 16).round() / 16 for name, tensor in base.items()}
    one = {name: base[name] + ((one[name] - base[name]) * 64).round() / 64 for name in base}
    base["model.empty"], one["model.empty"] = torch.zeros(0, 3), torch.zeros(0, 3)
    opened, parents = write_family(tmp_path, base, [one, base])
    with ThreadPoolExecutor(2) as pool:
        yield ParentModel(opened.names, opened, parents, request.param(), pool, torch.device("cpu"))


def flat(model: ParentModel, index: int) -> tuple[torch.Tensor, list[tuple[str, int]]]:
    whole: list[torch.Tensor] = []
    places: list[tuple[str, int]] = []

    def add(tensors: ParentTensors) -> None:
        whole.append(tensors.delta(index).reshape(-1))
        places.extend((tensors.name, place) for place in range(tensors.numel))

    model.map_tensors(add, "")
    return torch.cat(whole).abs(), places


def test_largest(model: ParentModel) -> None:
    sizes, places = flat(model, 0)
    order = torch.sort(sizes, descending=True, stable=True).indices
    assert len(sizes) == model.numel > 65_536
    for count in (1, 2, 500, 30_000, 69_000, model.numel):
        last = int(order[count - 1])
        expected = ModelRanked(float(sizes[last]), *places[last])
        still = ModelRanked(0.0, *places[count - 1])
        assert model_largest(model, "delta", [Delta(0), Delta(1)], [count, count]) == [expected, still]


def test_magnitudes(model: ParentModel) -> None:
    sizes = torch.sort(flat(model, 0)[0]).values
    ranks = [0, 1, 7_000, 69_000, model.numel - 1]
    found = model_magnitudes(model, "delta", [Delta(0)], [(0, rank) for rank in ranks])
    assert [found[0, rank] for rank in ranks] == [float(sizes[rank]) for rank in ranks]


def test_points_share_the_passes(model: ParentModel, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[str] = []
    every = model.map_tensors
    monkeypatch.setattr(
        model, "map_tensors", lambda work, label, *rest: passes.append(label) or every(work, label, *rest)
    )
    model_magnitudes(model, "delta", [Delta(0), Delta(1)], [(0, 5), (0, 60_000), (1, 7)])
    assert passes == [f"ranking all parameters, pass {number} of 3" for number in (1, 2, 3)]
    model_magnitudes(model, "delta", [Delta(0), Delta(1)], [(1, 7), (0, 60_000), (0, 5)])
    assert len(passes) == 3
