"""One result, bit for bit: any number of threads, one point or a grid, any shards, any order, interrupted or not."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from src.checkpoints import Checkpoint, write_checkpoint
from src.merging.engine import grid as grid_module
from src.merging.engine.grid import MergeRequest, merge_grid
from src.merging.engine.outputs import ToDirectory, ToFunction, ToModel
from tests.merging.tools import Tensors, identical, merge_all, random_family, recipe, write_family

NAMES = ["linear", "ties", "dare", "dare_ties", "della", "della_linear", "breadcrumbs"]
Family = tuple[Checkpoint, dict[str, Checkpoint]]


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Family:
    return write_family(tmp_path_factory.mktemp("family"), *random_family(dtype=torch.bfloat16))


@pytest.fixture(scope="module")
def grid(family: Family) -> list[Tensors]:
    """Three weights of every method in one pass."""
    return merge_all(*family, [recipe(name, weight=w) for name in NAMES for w in (0.1, 0.5, 0.9)])[0]


@pytest.mark.parametrize("place", range(len(NAMES)), ids=NAMES)
def test_single_point_equals_the_grid(family: Family, grid: list[Tensors], place: int) -> None:
    [single], _ = merge_all(*family, [recipe(NAMES[place], weight=0.5)])
    assert identical(single, grid[3 * place + 1])


@pytest.mark.parametrize("workers", [1, 5])
def test_threads(family: Family, grid: list[Tensors], workers: int) -> None:
    again, _ = merge_all(*family, [recipe(name, weight=w) for name in NAMES for w in (0.1, 0.5, 0.9)], workers)
    assert all(identical(left, right) for left, right in zip(grid, again, strict=True))


def test_order_of_points(family: Family, grid: list[Tensors]) -> None:
    again, _ = merge_all(*family, [recipe(name, weight=0.1) for name in reversed(NAMES)])
    assert all(identical(left, right) for left, right in zip(grid[::3], reversed(again), strict=True))


def test_shards_and_other_tensors(family: Family, grid: list[Tensors], tmp_path: Path) -> None:
    """Neither the shards of the parents nor a tensor more changes the masks of the others."""
    base, parents = family
    for label, checkpoint in {"base": base, **parents}.items():
        tensors = {name: checkpoint.tensor(name) for name in checkpoint.names} | {"a.first": torch.ones(3).bfloat16()}
        write_checkpoint(tmp_path / label, tensors, shard_bytes=20_000)
    opened = {label: Checkpoint(tmp_path / label) for label in parents}
    again, _ = merge_all(Checkpoint(tmp_path / "base"), opened, [recipe(name, weight=0.1) for name in NAMES])
    for left, right in zip(grid[::3], again, strict=True):
        assert identical(left, {name: tensor for name, tensor in right.items() if name != "a.first"})


def test_written_equals_copied_into_a_model(family: Family, grid: list[Tensors], tmp_path: Path) -> None:
    points = [recipe(name, weight=0.1) for name in NAMES]
    states: list[Tensors] = [{name: torch.zeros(shape) for name, shape in shapes(family).items()} for _ in points]
    sinks = [ToDirectory(tmp_path / one.method, shard_bytes=60_000) for one in points]
    written = merge_grid(*family, [MergeRequest(one, sink) for one, sink in zip(points, sinks, strict=True)])
    handed = merge_grid(*family, [MergeRequest(one, ToModel(state)) for one, state in zip(points, states, strict=True)])
    for one, expected, state in zip(points, grid[::3], states, strict=True):
        checkpoint = Checkpoint(tmp_path / one.method)
        assert identical({name: checkpoint.tensor(name) for name in checkpoint.names}, expected)
        assert all(torch.equal(state[name], expected[name].float()) for name in expected)
    assert [outcome.strength for outcome in written] == [outcome.strength for outcome in handed]


def shapes(family: Family) -> dict[str, tuple[int, ...]]:
    return {name: info.shape for name, info in family[0].table.items()}


def test_seeds_change_only_masks(family: Family) -> None:
    points = [recipe(name, seed=seed) for name in ("dare", "della") for seed in (0, 1)]
    [dare, other_dare, della, other_della], outcomes = merge_all(*family, points)
    for left, right in ((dare, other_dare), (della, other_della)):
        assert not any(torch.equal(left[name], right[name]) for name in left)
    first, second = (outcome.strength[-1].merged for outcome in outcomes[:2])
    assert first == pytest.approx(second, rel=0.02)


@pytest.mark.parametrize("died_at", [1, 3, 5])
def test_interrupted_and_resumed(family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, died_at: int) -> None:
    points = [
        MergeRequest(recipe(name), ToDirectory(tmp_path / name, shard_bytes=30_000)) for name in ("ties", "della")
    ]
    read, seen = grid_module.open_tensor, []

    def dies(name: str, *rest: object) -> object:
        seen.append(name)
        if len(seen) == died_at:
            raise KeyboardInterrupt
        return read(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(grid_module, "open_tensor", dies)
    with pytest.raises(KeyboardInterrupt):
        merge_grid(*family, points)
    assert not list(tmp_path.glob("*/*.safetensors"))
    seen.clear()
    seen.extend(["resumed"] * died_at)
    resumed = merge_grid(*family, points)
    assert len(seen) - died_at <= len(family[0].names)
    monkeypatch.undo()
    [ties, della], outcomes = merge_all(*family, [recipe("ties"), recipe("della")])
    for name, expected in (("ties", ties), ("della", della)):
        checkpoint = Checkpoint(tmp_path / name)
        assert identical({tensor: checkpoint.tensor(tensor) for tensor in checkpoint.names}, expected)
    assert [outcome.strength for outcome in resumed] == [outcome.strength for outcome in outcomes]


def test_function_gets_tensors_in_order(family: Family) -> None:
    seen: list[str] = []
    merge_grid(*family, [MergeRequest(recipe("linear"), ToFunction(lambda name, tensor: seen.append(name)))])
    assert seen == list(family[0].names)


KILLED = """
import os, signal, sys
from pathlib import Path
from src.checkpoints import Checkpoint
from src.merging.engine import grid
from src.merging.engine.outputs import ToDirectory
from tests.merging.tools import recipe

opened, root = grid.open_tensor, Path(sys.argv[1])

def killed(name, *rest):
    if name == "model.norm.weight":
        os.kill(os.getpid(), signal.SIGKILL)
    return opened(name, *rest)

grid.open_tensor = killed
parents = {label: Checkpoint(root / label) for label in ("codegen", "codesum")}
request = grid.MergeRequest(recipe("della"), ToDirectory(root / "out", 30_000))
grid.merge_grid(Checkpoint(root / "base"), parents, [request])
"""


def test_killed_and_resumed(tmp_path: Path) -> None:
    """`kill -9` on the last tensor: what is visible is no checkpoint, and the finished shards are not merged again."""
    base, parents = write_family(tmp_path, *random_family(dtype=torch.bfloat16))
    root = Path(__file__).resolve().parents[3]
    finished = subprocess.run([sys.executable, "-c", KILLED, tmp_path], cwd=root, check=False, capture_output=True)
    assert finished.returncode == -signal.SIGKILL
    assert not list((tmp_path / "out").glob("*.safetensors*"))
    sink = ToDirectory(tmp_path / "out", 30_000)
    seen: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        opened = grid_module.open_tensor
        patch.setattr(grid_module, "open_tensor", lambda name, *rest: (seen.append(name), opened(name, *rest))[1])
        merge_grid(base, parents, [MergeRequest(recipe("della"), sink)])
    assert 0 < len(seen) < len(base.names)
    written = Checkpoint(tmp_path / "out")
    [expected], _ = merge_all(base, parents, [recipe("della")])
    assert identical({name: written.tensor(name) for name in written.names}, expected)


@pytest.mark.gpu
def test_gpu(family: Family, grid: list[Tensors]) -> None:
    points = [recipe(name, weight=w) for name in NAMES for w in (0.1, 0.5, 0.9)]
    results: list[Tensors] = [{} for _ in points]
    into = [MergeRequest(one, ToFunction(found.__setitem__)) for one, found in zip(points, results, strict=True)]
    merge_grid(*family, into, device="cuda")
    assert all(identical(left, right) for left, right in zip(grid, results, strict=True))
