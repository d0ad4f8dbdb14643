"""`merge.py recipe=FILE.yml`: the YAML names the parents and the method, and its files are those of mergekit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from src.checkpoints import Checkpoint, write_checkpoint
from src.stages.job import Job, compose_job
from src.stages.merge.from_recipe import with_recipe
from src.stages.merge.run import merge, merge_all
from src.utils.errors import UserError
from tests.merging.tools import random_family

RECIPE = """
merge_method: dare_ties
base_model: {root}/base
models:
  - model: {root}/code
    parameters: {{weight: 0.6, density: 0.5}}
  - model: {root}/math
    parameters: {{weight: 0.4, density: 0.5}}
parameters: {{int8_mask: true}}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    base, specialists = random_family(dtype=torch.bfloat16)
    for name, tensors in zip(("base", "code", "math"), (base, *specialists), strict=True):
        write_checkpoint(tmp_path / name, tensors)
        (tmp_path / name / "config.json").write_text('{"model_type": "qwen2", "tie_word_embeddings": true}')
        (tmp_path / name / "tokenizer_config.json").write_text(json.dumps({"chat_template": f"{{{{{name}}}}}"}))
    return tmp_path


def job(root: Path, text: str, *overrides: str, name: str = "my recipe.yml") -> Job:
    (root / name).write_text(text.format(root=root))
    return compose_job("merge", [f"recipe='{root}/{name}'", f"output_root={root}/runs", *overrides])


def test_a_recipe_is_merged(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = merge(job(root, RECIPE, "seed=3"))
    assert "int8_mask does not change the result" in capsys.readouterr().err
    assert place.name.startswith("base-dare_ties-my_recipe-of")
    record = json.loads((place / "run.json").read_text())
    recipe = record["results"]["recipe"]
    assert recipe["weights"] == {"code": 0.6, "math": 0.4}
    assert (recipe["density"], recipe["rescale"], recipe["normalize"], recipe["seed"]) == (0.5, "l1", False, 3)
    assert record["argv"][:2] == ["python", "merge.py"]
    assert json.loads((place / "tokenizer_config.json").read_text())["chat_template"] == "{{base}}"  # as mergekit's
    assert record["results"]["mergekit_config"] == "written"
    assert "mergekit_config.yml" in record["outputs"]
    again = merge(job(root, (place / "mergekit_config.yml").read_text(), "seed=3", f"output={root}/again"))
    first, second = Checkpoint(place), Checkpoint(again)
    assert first.names == second.names == Checkpoint(root / "base").names
    assert all(torch.equal(first.tensor(name), second.tensor(name)) for name in first.names)


def test_the_chat_template(root: Path) -> None:
    (root / "math" / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{code}}"}))
    for asked, found in (("auto", "code"), ("'{{{{messages}}}}'", "{{messages}}")):
        assert with_recipe(job(root, f"{RECIPE}chat_template: {asked}\n")).cfg.merge.template == found
    named = with_recipe(job(root, f"{RECIPE}chat_template: chatml\n")).cfg.merge.template
    assert "im_start" in Path(named).read_text()
    with pytest.raises(UserError, match="chat_template 'chatlm', did you mean 'chatml'"):
        with_recipe(job(root, f"{RECIPE}chat_template: chatlm\n"))


def test_the_dtype_of_the_result_is_the_widest(root: Path) -> None:
    write_checkpoint(
        root / "math",
        {name: Checkpoint(root / "math").tensor(name).float() for name in Checkpoint(root / "math").names},
    )
    assert with_recipe(job(root, RECIPE)).cfg.merge.dtype == "float32"
    assert with_recipe(job(root, f"{RECIPE}dtype: bfloat16\n")).cfg.merge.dtype == "bfloat16"


def test_methods_of_mergekit_compute_in_the_dtype_of_the_models(root: Path) -> None:
    text = "merge_method: nearswap\nbase_model: {root}/code\nmodels: [{{model: {root}/math}}]\nparameters: {{t: 0.1}}\n"
    assert with_recipe(job(root, f"{text}dtype: bfloat16\n")).cfg.merge.name == "nearswap"
    with pytest.raises(UserError, match=r"dtype: float32: nearswap runs in mergekit .*bfloat16.*set out_dtype"):
        with_recipe(job(root, f"{text}dtype: float32\n"))


def test_errors_name_the_recipe_and_the_key(root: Path) -> None:
    composed = job(root, RECIPE)
    for typed in ("merge=ties", "+merge.seed=1", "base=x", "specialists.a=x"):
        with pytest.raises(UserError, match=rf"recipe=.*remove {typed.replace('+', '.')}"):
            with_recipe(replace(composed, overrides=(*composed.overrides, typed)))
    with pytest.raises(UserError, match=r"recipe=.*my recipe.yml: models: dare_ties takes at least 1"):
        with_recipe(job(root, "merge_method: dare_ties\nbase_model: a\nmodels: [{{model: a}}]"))
    with pytest.raises(UserError, match=r"recipe=nowhere.yml: no such file"):
        with_recipe(compose_job("merge", ["recipe=nowhere.yml"]))
    failed, made = merge_all([job(root, "merge_method: ties"), job(root, RECIPE, name="good.yml")])
    assert isinstance(failed, UserError)
    assert isinstance(made, Path)
