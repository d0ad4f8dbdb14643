"""Two processes against one: the same losses and weights, shards that reopen on another number, one export."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import GenericAlias, SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed

from src.checkpoints import Checkpoint
from src.lit_modules.callbacks.gradient_cosine import GradientCosine
from src.lit_modules.callbacks.throughput import Throughput
from src.lit_modules.callbacks.weight_delta import WeightDelta
from src.lit_modules.datamodule import TrainingRows
from src.lit_modules.export import export_checkpoint
from src.lit_modules.fit import FitResult, fit
from src.lit_modules.options import CheckpointOptions, FitOptions, OptimizerOptions, TrainerOptions
from src.lit_modules.world import connected, resolve_world
from src.models import LoraSettings, empty_model, load_model, narrow_stream
from src.models.adapters import add_adapters
from src.stages.train.launch import _free_port, run_ranks
from src.utils.errors import AlreadyTold, UserError
from tests.forked import Forked
from tests.lit_modules import tiny
from tests.lit_modules.fitting import Listener, metrics, values

ROOT = Path(__file__).resolve().parents[2]
STEPS = 6
ROWS = {"a": tiny.rows("a", 14), "b": tiny.rows("b", 9, length=4)}


def run(base: Path, work_dir: Path, out: Path, **changes: Any) -> FitResult:
    """Train on one rank; a large eps keeps AdamW from amplifying the sign of gradients that are rounding noise."""
    trainer = TrainerOptions(
        precision=changes.pop("precision", "auto"),
        mesh=changes.pop("mesh", "full"),
        reduce=changes.pop("reduce", "every"),
    )
    with connected(trainer):
        return fit_and_export(base, work_dir, out, trainer, **changes)


def fit_and_export(base: Path, work_dir: Path, out: Path, trainer: TrainerOptions, **changes: Any) -> FitResult:
    weights = Checkpoint(base)
    adapter = changes.pop("adapter", False)
    lean = resolve_world(trainer).size > 1
    network = empty_model(base) if lean else load_model(base)
    if trainer.half:
        narrow_stream(network)
    if adapter:
        add_adapters(network, LoraSettings(rank=4, alpha=8), seed=0)
    tables, kill_at = tiny.tables(ROWS), changes.pop("kill_at", None)

    def kill(row: dict[str, Any]) -> None:
        if row["step"] == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    options = FitOptions(
        OptimizerOptions(3e-2, eps=1e-2), tiny.batches(2, 10, packing=changes.pop("packing", False), steps=STEPS),
        trainer=trainer, checkpoints=CheckpointOptions(every_steps=2, keep=9, validate_every=3),
    )  # fmt: skip
    result = fit(
        network, TrainingRows(tables, tables, tiny.PAD), options, work_dir, base=weights,
        callbacks=[Throughput(), WeightDelta(3), GradientCosine(3)], loggers=[Listener(kill)],
    )  # fmt: skip
    export_checkpoint(network, tiny.tokenizer(), out, torch.float32, weights if adapter else None)
    return result


def on_ranks(count: int, base: Path, work_dir: Path, out: Path, **changes: Any) -> None:
    """As `train.py` starts its processes."""
    paths = [str(path) for path in (base, work_dir, out)]
    lines = f"import pathlib, sys; sys.path.insert(0, {str(ROOT)!r}); import tests.lit_modules.test_ranks as t"
    call = f"t.run(*map(pathlib.Path, {paths}), **{changes})"
    run_ranks([sys.executable, "-W", "error::UserWarning", "-c", f"{lines}; {call}"], count)


def on_nodes(nodes: int, each: int, base: Path, place: Path, **changes: Any) -> None:
    """Run processes as torchrun describes those of several nodes."""
    paths = [str(path) for path in (base, place / "work", place / "out")]
    lines = f"import pathlib, sys; sys.path.insert(0, {str(ROOT)!r}); import tests.lit_modules.test_ranks as t"
    command = [sys.executable, "-c", f"{lines}; t.run(*map(pathlib.Path, {paths}), **{changes})"]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(nodes * each)}
    started = []
    for rank in range(nodes * each):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank % each), "LOCAL_WORLD_SIZE": str(each)}
        started.append(subprocess.Popen(command, env={**os.environ, **shared, **own}))
    assert {process.wait() for process in started} == {0}


def rows(work_dir: Path) -> list[dict[str, Any]]:
    """Of the record, without rates."""
    return metrics(work_dir)


def assert_same_run(one: Path, other: Path) -> None:
    assert len(rows(one / "work")) == len(rows(other / "work"))
    for left, right in zip(rows(one / "work"), rows(other / "work"), strict=True):
        assert left.keys() == right.keys()
        assert left["step"] == right["step"]
        for name in left:
            assert right[name] == pytest.approx(left[name], abs=1e-5, rel=1e-4), name
    left, right = Checkpoint(one / "out"), Checkpoint(other / "out")
    assert left.names == right.names
    for name in left.names:
        torch.testing.assert_close(right.tensor(name), left.tensor(name), atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("base")
    export_checkpoint(tiny.network(), tiny.tokenizer(), place, torch.float32)
    return place


@pytest.fixture(scope="module")
def single(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("single")
    run(base, place / "work", place / "out")
    return place


class ForkedRank(Forked):
    """A rank of `python -c CODE` that does not import everything anew."""

    __class_getitem__ = classmethod(GenericAlias)

    def __init__(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        super().__init__(exec, command[-1], environment=env)


@pytest.fixture
def forked_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    popen = SimpleNamespace(Popen=ForkedRank, TimeoutExpired=subprocess.TimeoutExpired)
    monkeypatch.setattr("src.stages.train.launch.subprocess", popen)


@pytest.fixture
def no_process_group() -> Iterator[None]:
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def test_two_ranks_give_what_one_gives_and_their_shards_reopen_on_one(
    base: Path, single: Path, tmp_path: Path, no_process_group: None, forked_ranks: None
) -> None:
    on_ranks(2, base, tmp_path / "work", tmp_path / "out")
    assert_same_run(single, tmp_path)
    shards = tmp_path / "work" / "checkpoints" / "step-00000002.ckpt"
    assert len(list(shards.glob("*.distcp"))) == 2
    again = tmp_path / "again"
    (again / "work" / "checkpoints").mkdir(parents=True)
    for name in ("fit.json", "metrics.jsonl"):
        shutil.copy(tmp_path / "work" / name, again / "work" / name)
    shutil.copytree(shards, again / "work" / "checkpoints" / shards.name)
    run(base, again / "work", again / "out")
    assert_same_run(single, again)


@pytest.fixture(scope="module")
def untied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("untied")
    export_checkpoint(tiny.network(tied=False), tiny.tokenizer(), place, torch.float32)
    return place


@pytest.mark.slow
def test_units_of_embedding_and_head_and_weights_divided_within_nodes(untied: Path, tmp_path: Path) -> None:
    """Two ranks; and two nodes of two, each with a copy, which sum gradients after the last micro-batch."""
    one, two, four = (tmp_path / name for name in ("one", "two", "four"))
    run(untied, one / "work", one / "out")
    on_nodes(1, 2, untied, two)
    assert_same_run(one, two)
    on_nodes(2, 2, untied, four, mesh="hybrid", reduce="last")
    assert_same_run(one, four)


@pytest.mark.slow
def test_two_ranks_go_on_from_the_file_of_one_and_three_from_their_shards(base: Path, tmp_path: Path) -> None:
    """With packed rows; three ranks do not divide any dimension of the network evenly."""
    places = [tmp_path / name for name in ("one", "two", "three")]
    run(base, places[0] / "work", places[0] / "out", packing=True)
    for count, before, here, kept in ((2, *places[:2], 1), (3, *places[1:], 2)):
        shutil.copytree(before, here)
        for path in sorted((here / "work" / "checkpoints").iterdir())[kept:]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        on_ranks(count, base, here / "work", here / "out", packing=True)
        assert_same_run(places[0], here)


@pytest.mark.slow
def test_shards_of_eight_ranks_reopen_on_two(base: Path, single: Path, tmp_path: Path) -> None:
    eight, two = tmp_path / "eight", tmp_path / "two"
    on_ranks(8, base, eight / "work", eight / "out")
    assert_same_run(single, eight)
    shutil.copytree(eight / "work", two / "work")
    for path in sorted((two / "work" / "checkpoints").iterdir())[1:]:
        shutil.rmtree(path)
    on_ranks(2, base, two / "work", two / "out")
    assert_same_run(single, two)


@pytest.mark.slow
def test_adapters_on_two_ranks_give_what_they_give_on_one(base: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    run(base, one / "work", one / "out", adapter=True)
    on_ranks(2, base, two / "work", two / "out", adapter=True)
    assert_same_run(one, two)
    assert values(two / "work", "weights/l2/layers.0")[3] > 0


@pytest.mark.slow
def test_half_precision_keeps_float32_master_weights(base: Path, single: Path, tmp_path: Path) -> None:
    """On two ranks and, by autocast, on one."""
    one, two = tmp_path / "one", tmp_path / "two"
    run(base, one / "work", one / "out", precision="bf16-mixed")
    on_ranks(2, base, two / "work", two / "out", precision="bf16-mixed")
    losses = [list(values(place / "work", "train/loss").values()) for place in (single, one, two)]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert losses[2] == pytest.approx(losses[1], rel=0.005)
    for place in (one, two):
        weight = Checkpoint(place / "out").tensor("model.layers.0.mlp.up_proj.weight")
        assert not torch.equal(weight, weight.bfloat16().float())


def test_a_failing_rank_stops_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.stages.train.launch.GRACE", 0.2)
    script = "import os, sys, time; sys.exit(3) if os.environ['RANK'] == '1' else time.sleep(60)"
    with pytest.raises(UserError, match=r"process 1 \(exit code 3\).* of 2 failed and the others were stopped"):
        run_ranks([sys.executable, "-S", "-c", script], 2)


def test_a_reason_that_comes_late_is_still_told(capfd: pytest.CaptureFixture[str]) -> None:
    late = "time.sleep(0.5), print('error: why', file=sys.stderr)"
    script = f"import os, sys, time; os.environ['RANK'] == '0' and ({late}); sys.exit(2)"
    with pytest.raises(AlreadyTold):
        run_ranks([sys.executable, "-S", "-c", script], 2)
    assert capfd.readouterr().err == "error: why\n"


@pytest.mark.slow
def test_two_ranks_that_were_killed_go_on_bit_for_bit(base: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    on_ranks(2, base, whole / "work", whole / "out")
    with pytest.raises(UserError, match="exit code -9"):
        on_ranks(2, base, killed / "work", killed / "out", kill_at=5)
    assert rows(killed / "work")[-1]["step"] == 5
    on_ranks(2, base, killed / "work", killed / "out")
    assert rows(whole / "work") == rows(killed / "work")
    left, right = Checkpoint(whole / "out"), Checkpoint(killed / "out")
    assert all(torch.equal(left.tensor(name), right.tensor(name)) for name in left.names)
