"""The YAML files of conf/model, conf/trainer, conf/optimizer and conf/tasks compose and instantiate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from src.lit_modules.options import OptimizerOptions, TrainerOptions
from src.models import ModelSpec
from src.pocket.sources import FAMILIES

CONF = Path(__file__).resolve().parents[1] / "conf"


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("[!_]*.yaml"))


def node(group: str, name: str, *overrides: str) -> Any:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(None, overrides=[f"+{group}={name}", *overrides])[group]


@pytest.mark.parametrize("name", choices("model"))
def test_models(name: str) -> None:
    spec = instantiate(node("model", name))
    assert isinstance(spec, ModelSpec)
    assert spec.name == name
    assert 0 < spec.recipe.learning_rate < 0.01
    assert (spec.recipe.epochs is None) != (spec.recipe.steps is None)
    assert (spec.pretraining is not None) == (spec.path is None)


def test_what_the_study_ran() -> None:
    real = [name for name in choices("model") if name != "pocket"]
    rates = {name: instantiate(node("model", name)).recipe.learning_rate for name in real}
    assert rates == {"qwen1.5b": 1e-5, "qwen7b": 5e-6, "qwen14b": 5e-6, "deepseek1.3b": 1e-5, "deepseek7b": 5e-6}


@pytest.mark.parametrize("name", choices("trainer"))
def test_trainers(name: str) -> None:
    assert isinstance(instantiate(node("trainer", name, "+model=pocket")), TrainerOptions)


@pytest.mark.parametrize("name", choices("optimizer"))
def test_optimizers_take_the_rate_of_the_strategy(name: str) -> None:
    options = instantiate(node("optimizer", name), lr=1e-5)
    assert isinstance(options, OptimizerOptions)
    assert (options.lr, options.weight_decay) == (1e-5, 0.0)


@pytest.mark.parametrize("group", ["model", "trainer", "optimizer"])
def test_unknown_keys_are_refused(group: str) -> None:
    name = {"model": "pocket", "trainer": "cpu", "optimizer": "adamw"}[group]
    with pytest.raises(InstantiationException, match="bogus"):
        instantiate(node(group, name, f"+{group}.bogus=1"))


POCKET_ONLY = ("repair", *FAMILIES)  # repair, and families of programs, which are scored by their losses


def kinds_of_data() -> list[tuple[str, str]]:
    pocket = [(file, "pocket") for file in choices("tasks")]
    return pocket + [(file, "real") for file in choices("tasks") if file not in POCKET_ONLY]


@pytest.mark.parametrize(("file", "data"), kinds_of_data())
def test_tasks(file: str, data: str) -> None:
    [(name, task)] = node("tasks", file).items()
    assert file == (f"{name}_{task.variant}" if "variant" in task else name)
    assert bool(task.benchmarks[data]) == (name not in FAMILIES)
    assert ("real" in task.sources) == (file not in POCKET_ONLY)
    for source in task.sources[data].values():
        assert source.user_prompt == task.user_prompt[data]
        made = instantiate(source)
        if data == "real":
            assert made.task == name
        else:
            rows = made.examples("validation")
            assert {row.task for row in rows} == {name}
            assert all(row.prompt for row in rows)
