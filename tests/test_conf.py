"""Every YAML of conf/ composes, and every node with a `_target_` takes exactly the keys that its YAML gives."""

import importlib
import inspect
from functools import cache
from pathlib import Path

import pytest
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf

from src.config.groups import CONF
from src.stages.job import USUAL_TASKS, compose_job
from src.utils.errors import UserError

SCRIPTS = ("train", "merge", "evaluate", "diagnose", "study", "compare")
GROUP_OF_SCRIPT = {
    "model": "train", "strategy": "train", "tasks": "train", "trainer": "train", "optimizer": "train",
    "callbacks": "train", "logger": "train", "merge": "merge", "search": "merge", "benchmark": "evaluate",
    "generator": "evaluate", "sandbox": "evaluate", "study": "study", "executor": "study",
}  # fmt: skip


def choices():
    found = [(path.parent.name, path.stem) for path in sorted(CONF.glob("*/[!_]*.yaml"))]
    return [choice for choice in found if choice[0] not in ("experiment", "debug")]


def nodes(cfg, path=""):
    if isinstance(cfg, DictConfig):
        if "_target_" in cfg:
            yield path, cfg
        for key in cfg:
            if not OmegaConf.is_missing(cfg, key) and isinstance(cfg._get_node(key), DictConfig):
                yield from nodes(cfg[key], f"{path}.{key}")


@cache
def composed(group, choice):
    """The config of a script with one choice, which the tests read and do not change."""
    return compose_job(GROUP_OF_SCRIPT[group], [f"{group}={choice}"]).cfg


def test_every_group_is_used_by_a_script():
    assert {group for group, _ in choices()} <= set(GROUP_OF_SCRIPT)


@pytest.mark.parametrize(("group", "choice"), choices())
def test_every_choice_composes(group, choice):
    assert composed(group, choice)[group] is not None


@pytest.mark.parametrize(("group", "choice"), choices())
def test_every_node_fits_its_callable(group, choice):
    cfg = composed(group, choice)
    if group == "strategy" and choice == "base":
        assert cfg.strategy.architecture._target_ == "src.pocket.model.PocketModel"
    for path, node in nodes(cfg):
        module, _, name = node._target_.rpartition(".")
        target = getattr(importlib.import_module(module), name)
        if not inspect.isclass(target) and not inspect.isfunction(target):
            continue  # merge methods check their own keys when they are called; tests/merging does
        parameters = inspect.signature(target).parameters
        unknown = {str(key) for key in node if not str(key).startswith("_")} - set(parameters)
        assert not unknown, f"{path}: {node._target_} does not take {unknown}"


@pytest.mark.parametrize("name", SCRIPTS)
def test_root_configs_reject_unknown_keys(name):
    with pytest.raises(ConfigCompositionException, match="no_such_key"):
        compose_job(name, ["no_such_key=1"])


@pytest.mark.parametrize(("choice", "shrink"), [("none", False), ("shrink", True)])
def test_debug_choices_set_the_model(choice, shrink):
    assert bool(compose_job("train", ["model=qwen7b", f"debug={choice}"]).cfg.model.shrink) is shrink


def test_open_fields_take_new_names():
    cfg = compose_job("merge", ["specialists.bugfix=/x"]).cfg
    assert cfg.specialists.bugfix == "/x"
    assert Path(str(cfg.specialists.bugfix)).name == "x"


@pytest.mark.parametrize("script", ["train", "merge", "evaluate", "diagnose"])
def test_tasks_are_chosen_in_one_place_and_by_one_key(script):
    usual = compose_job(script, []).cfg.tasks
    assert list(usual) == USUAL_TASKS
    chosen = compose_job(script, ["tasks=[codesum,codegen_fair]", "tasks.codegen.user_prompt.real=X"]).cfg.tasks
    assert list(chosen) == ["codesum", "codegen"]
    assert list(chosen.codegen.benchmarks.real) == ["humaneval", "mbpp_held_out", "kodcode"]
    assert chosen.codegen.sources.real.kodcode.user_prompt == "X"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("merge=tise", "unknown merge 'tise', did you mean 'ties'.*linear"),
        ("tasks=[codgen]", "unknown task 'codgen', did you mean 'codegen'.*codesum_six"),
        ("tasks=[codegen,codegen_fair]", r"tasks=\[codegen,codegen_fair\].*got codegen_fair"),
        ("tasks=[]", r"tasks=\[\].*got none"),
    ],
)
def test_unknown_choices_list_the_known(override, words):
    with pytest.raises(UserError, match=words):
        compose_job("merge", [override])


OF_ONES_OWN = {  # group -> what a file of one's own there is built on; conf/tasks is tested in tests/stages/study
    "model": "pocket", "strategy": "mix", "trainer": "cpu", "optimizer": "adamw", "callbacks": "default",
    "logger": "csv", "merge": "ties", "benchmark": "pocket_codegen", "generator": "hf", "sandbox": "auto",
    "study": "pocket", "search": "tpe", "executor": "serial",
}  # fmt: skip


@pytest.mark.parametrize(("group", "built_on"), OF_ONES_OWN.items())
def test_a_directory_of_ones_own_holds_files_of_every_group(group, built_on, tmp_path):
    (tmp_path / group).mkdir()
    (tmp_path / group / "mine.yaml").write_text(f"defaults: [{built_on}, _self_]\nname: mine\n")
    script, choice = GROUP_OF_SCRIPT[group], f"{group}=mine"
    job = compose_job(script, [f"hydra.searchpath=[file://{tmp_path}]", choice])
    assert job.cfg[group].name == "mine"
    assert f"'hydra.searchpath=[file://{tmp_path}]'" in job.command
    with pytest.raises(UserError, match="mine"):
        compose_job(script, [choice])


def test_every_group_is_tried_with_a_directory_of_ones_own():
    assert {*OF_ONES_OWN, "tasks"} == {group for group, _ in choices()}
