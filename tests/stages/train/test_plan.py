from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from src.lit_modules.export import export_checkpoint
from src.lit_modules.options import CheckpointOptions, FitOptions, OptimizerOptions
from src.lit_modules.world import World
from src.models import LoraSettings, ModelSpec, Recipe, parameter_counts
from src.runs.environment import environment
from src.stages.train.measured_rate import measured_rate
from src.stages.train.plan import TrainingPlan, announce, training_plan
from src.stages.train.prepared import PreparedRows
from src.utils.errors import UserError
from tests.lit_modules import tiny

SPEC = ModelSpec("m", "pocket", None, Recipe(1e-3, 64, 1, 1, steps=1), context_length=64, dtype="bfloat16")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("base")
    export_checkpoint(tiny.network(), tiny.tokenizer(), place, torch.float32)
    return place


def planned(base: Path, root: Path, world: World = World(1, 1), **changes: Any) -> TrainingPlan:  # noqa: B008
    tables = tiny.tables({"a": tiny.rows("a", 9), "b": tiny.rows("b", 5)})
    rows = PreparedRows(tiny.tokenizer(), tables, {}, {}, {})
    options = FitOptions(OptimizerOptions(1e-3), tiny.batches(2, 4, epochs=2), checkpoints=CheckpointOptions(**changes))
    return training_plan(SPEC, base, rows, options, world, root / "train" / "run", root)


def finished(root: Path, name: str, **changes: Any) -> None:
    record = {"config": {"model": {"name": "m"}}, "machine": environment()["machine"], **changes}
    (root / "train" / name).mkdir(parents=True)
    (root / "train" / name / "run.json").write_text(json.dumps(record))


def test_a_plan_by_hand(base: Path, tmp_path: Path) -> None:
    """14 rows twice in steps of 4 are 7 steps; a weight takes 2 bytes in the export, 12 in a checkpoint."""
    network = sum(parameter.numel() for parameter in tiny.network().parameters())
    plan = planned(base, tmp_path)
    assert (plan.steps, plan.epochs, plan.parameters, plan.trained) == (7, 2.0, network, network)
    assert {task: counts["rows"] for task, counts in plan.drawn.items()} == {"a": 18, "b": 10}
    assert plan.disk_bytes == pytest.approx(1.01 * network * (2 + 3 * 12))
    assert plan.rate is None
    assert "not estimated" in plan.lines()[2]
    assert plan.lines()[1].startswith(f"plan: 7 steps, 2 epochs, {plan.tokens:,} tokens: a 18 rows, ")


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({"keep": 1}, 2),  # one kept, one being written
        ({"keep": 1, "select": "best", "validate_every": 2}, 3),
        ({"every_seconds": None}, 1),  # the last step alone
        ({"every_seconds": None, "every_steps": 4}, 2),
        ({"every_seconds": None, "every_steps": 1, "keep": 2}, 3),
    ],
)
def test_number_of_checkpoints(base: Path, tmp_path: Path, changes: dict[str, Any], count: int) -> None:
    assert planned(base, tmp_path, **changes).checkpoints == count


def test_time_from_a_finished_run_of_the_same_kind(base: Path, tmp_path: Path) -> None:
    count = planned(base, tmp_path).parameters
    same = {"all": count, "trained": count}
    other = {"all": count + 1, "trained": count + 1}
    machine = environment()["machine"]
    cost = {"steps": 20, "tokens": 1000, "seconds": 1.0}
    finished(tmp_path, "larger", results={"cost": cost, "parameters": other})
    finished(tmp_path, "elsewhere", results={"cost": cost, "parameters": same}, machine={**machine, "gpus": ["H"]})
    finished(tmp_path, "two", results={"cost": cost, "parameters": same}, machine={**machine, "processes": 2})
    finished(tmp_path, "short", results={"cost": cost | {"steps": 2}, "parameters": same})
    (tmp_path / "train" / "damaged").mkdir()
    (tmp_path / "train" / "damaged" / "run.json").write_text("{")
    assert planned(base, tmp_path).rate is None
    finished(tmp_path, "same", results={"cost": cost | {"seconds": 10.0}, "parameters": same})
    plan = planned(base, tmp_path)
    assert plan.rate is not None
    assert (plan.rate.tokens_per_second, plan.rate.run.name) == (100, "same")
    on_two = measured_rate(tmp_path, "m", (count, count), 2)
    assert on_two is not None
    assert on_two.run.name == "two"
    two = planned(base, tmp_path, World(2, 1)).lines()[2]
    hours = 2 * plan.tokens / 1000 / 3600
    assert f"on 2 devices ({hours:.3g} device-hours) at 1,000 tokens per second" in two


def test_a_full_disk_is_refused_before_the_start(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(base, tmp_path)
    monkeypatch.setattr("src.stages.train.plan.free_bytes", lambda place: (1, plan.disk_bytes - 1))
    with pytest.raises(UserError, match=r"run needs 920 kB, its disk has 920 kB left.*checkpoint\.keep"):
        announce(plan, shown=True)
    written = tmp_path / "train" / ".run.partial"
    written.mkdir(parents=True)
    (written / "checkpoint").write_bytes(b"x" * 10)  # what an interrupted attempt has written is there already
    assert plan.room_error() is None


def test_parameters_of_adapters(base: Path) -> None:
    """Rank 2 on the seven linear layers of both layers: 2 x (inputs + outputs)."""
    shapes = [(32, 32), (32, 16), (32, 16), (32, 32), (32, 48), (32, 48), (48, 32)]
    whole, trained = parameter_counts(base, LoraSettings(rank=2))
    assert whole == sum(parameter.numel() for parameter in tiny.network().parameters())
    assert trained == 2 * 2 * sum(map(sum, shapes))
