"""The compiled arithmetic equals the plain one to the last bit."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from src.merging.backend.counter_rng import uniform
from src.merging.backend.della_probabilities import keep_probabilities
from src.merging.backend.numba_ops import NumbaOps
from src.merging.backend.torch_ops import TorchOps
from src.merging.engine.grid import choose_ops
from src.merging.tensors.blocks import Delta
from src.merging.tensors.parent_tensors import ParentTensors
from src.merging.tensors.reductions import UNIT, deterministic_sums
from tests.merging.tools import identical, merge_all, random_family, recipe, write_family

NUMBA = NumbaOps()
CPU = torch.device("cpu")
SIZES = (1, 5, UNIT - 1, UNIT, UNIT + 1, 3 * UNIT + 17)


def same_bits(left: torch.Tensor, right: torch.Tensor) -> bool:
    return torch.equal(left.view(torch.int32), right.view(torch.int32))


def values(size: int, kind: str = "normal") -> torch.Tensor:
    """Updates as they come: continuous, full of ties and zeros (bfloat16 parents), heavy-tailed, constant."""
    generator = torch.Generator().manual_seed(size)
    drawn = torch.randn(size, generator=generator)
    if kind == "ties":
        weights = torch.randn(size, generator=generator).mul(0.02).bfloat16()
        return (weights.float() + drawn * 1e-4).bfloat16().float() - weights.float()
    if kind == "heavy":
        return drawn.sign() * drawn.abs().pow(9) * 1e-20
    if kind == "constant":
        return drawn.sign() * 0.25
    return drawn


KINDS = ("normal", "ties", "heavy", "constant")


def tensors_of(
    delta: torch.Tensor, shape: tuple[int, ...], pool: ThreadPoolExecutor, ops: TorchOps | NumbaOps
) -> ParentTensors:
    zeros = torch.zeros_like(delta)
    reads = [lambda start, stop, _: zeros[start:stop], lambda start, stop, _: delta[start:stop]]
    return ParentTensors("x", shape, ["codegen"], reads, ops, pool, delta.device)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("power", [1, 2])
def test_fold(size: int, power: int) -> None:
    found = NUMBA.deterministic_sums(values(size), power)
    assert found == deterministic_sums(values(size), power)
    exact = math.fsum(abs(x) ** power for x in values(size).tolist())
    assert math.fsum(found) == pytest.approx(exact, rel=1e-14)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "dtypes", [(torch.float32,) * 2, (torch.bfloat16,) * 2, (torch.bfloat16, torch.float32), (torch.float16,) * 2]
)
def test_what_looks_at_task_vectors_as_stored(size: int, dtypes: tuple[torch.dtype, torch.dtype]) -> None:
    base, specialist = values(size).to(dtypes[0]), (values(size) + 0.1 * values(size, "heavy")).to(dtypes[1])
    delta = specialist.float() - base.float()
    reads = [lambda start, stop, _: base[start:stop], lambda start, stop, _: specialist[start:stop]]
    with ThreadPoolExecutor(2) as pool:
        tensors = ParentTensors("x", (size,), ["codegen"], reads, NUMBA, pool, CPU)
        [sums] = tensors.map(lambda block: NUMBA.delta_moments(block, 0))
        [[middle]] = NUMBA.order_statistics(tensors, "delta", [Delta(0)], [size // 2], descending=False)
        [mask] = NUMBA.rank_masks(tensors, [7], 0.5, 0.2)
        [ours] = tensors.map(lambda block: kept(block.delta(0), mask, block.start))
    assert sums == (deterministic_sums(delta, 1), deterministic_sums(delta, 2))
    assert middle.magnitude == delta.abs().sort().values[size // 2]
    assert torch.equal(ours, delta * (uniform(7, 0, size) < keep_probabilities(delta, size, 0.5, 0.2)))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_keepers(size: int, kind: str) -> None:
    delta, plain = values(size, kind), TorchOps()
    ours, theirs = torch.empty(size), torch.empty(size)
    middle = float(delta.abs().median())
    for high in (math.inf, 2 * middle):
        kept = NUMBA.keep_between(delta, middle, high, 1.7, ours)
        assert kept == plain.keep_between(delta, middle, high, 1.7, theirs) == torch.count_nonzero(theirs)
        assert same_bits(ours, theirs)
    kept = NUMBA.keep_drawn(delta, 12345, 777, 0.3, 1.7, ours)
    assert kept == plain.keep_drawn(delta, 12345, 777, 0.3, 1.7, theirs)
    assert same_bits(ours, theirs)


def test_draws_of_every_seed() -> None:
    for seed in (0, 1, (1 << 63) - 1, 0x1234_5678_9ABC_DEF0):
        ours, ones = torch.empty(1000), torch.ones(1000)
        NUMBA.keep_drawn(ones, seed, 1 << 33, 0.5, 1.0, ours)
        assert torch.equal(ours.bool(), uniform(seed, 1 << 33, (1 << 33) + 1000) < 0.5)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 2, 1000, 70_001, 600_000])
def test_order_statistics(kind: str, size: int, descending: bool) -> None:
    """The ranks of a stable sort: equal magnitudes in their order of storage, also across blocks."""
    delta = values(size, kind)
    positions = sorted({0, size // 2, size - 1, (size * 9) // 10})
    parts = [lambda b: b.delta(0), lambda b: b.delta(0) * 2]
    ordered = delta.abs().sort(stable=True, descending=descending)
    magnitudes, places = ordered.values[positions], ordered.indices[positions].tolist()
    for ops in (NUMBA, TorchOps()):
        with ThreadPoolExecutor(2) as pool:
            found = ops.order_statistics(
                tensors_of(delta, (size,), pool, ops), "delta", parts, positions, descending=descending
            )
        assert [[one.index for one in row] for row in found] == [places, places]
        assert [[one.magnitude for one in row] for row in found] == [magnitudes.tolist(), (magnitudes * 2).tolist()]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("rows", "row"), [(1, 1), (9, 1), (3, 7), (40, 64), (5, 896), (17, 4864), (1, 70_001)])
def test_rank_masks(kind: str, rows: int, row: int) -> None:
    delta = values(rows * row, kind)
    expected = uniform(99, 0, rows * row) < keep_probabilities(delta, row, 0.5, 0.2)
    with ThreadPoolExecutor(2) as pool:
        tensors = tensors_of(delta, (rows, row), pool, NUMBA)
        [mask] = NUMBA.rank_masks(tensors, [99], 0.5, 0.2)
        parts = tensors.map(lambda block: kept(block.delta(0), mask, block.start))
    assert torch.equal(torch.cat(parts), delta * expected)


def kept(delta: torch.Tensor, mask: object, start: int) -> torch.Tensor:
    out = torch.empty_like(delta)
    NUMBA.keep_masked(delta, mask, start, 1.0, out)
    return out


NAMES = ["linear", "task_arithmetic", "ties", "dare", "dare_ties", "della", "della_linear", "breadcrumbs"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_whole_merges(tmp_path: Path, dtype: torch.dtype, count: int) -> None:
    parents = write_family(tmp_path, *random_family(count, dtype))
    points = [recipe(name, weight=w) for name in NAMES for w in (0.1, 0.7)]
    points += [recipe(name, match_norm=True, weight=-0.5) for name in NAMES]
    points += [recipe(name, lambda_=0.7, normalize=n) for name in NAMES[1:] for n in (False, True)]
    points += [recipe("della", rescale="density"), recipe("dare", rescale="density"), recipe("ties", rescale="l1")]
    points += [recipe("linear", normalize=False, dtype="float32"), recipe("ties", density=1.0, exclude="norm")]
    plain, plain_outcomes = merge_all(*parents, points, ops=TorchOps())
    fused, fused_outcomes = merge_all(*parents, points, ops=NUMBA)
    for one, left, right in zip(points, plain, fused, strict=True):
        assert identical(left, right), one
        assert all(torch.equal(left[name].signbit(), right[name].signbit()) for name in left), one  # zeros have one too
    assert [outcome.strength for outcome in plain_outcomes] == [outcome.strength for outcome in fused_outcomes]


def test_small_work_is_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(choose_ops(10**6, CPU), TorchOps)
    assert isinstance(choose_ops(10**10, CPU), NumbaOps)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert isinstance(choose_ops(10**10, CPU), TorchOps)
