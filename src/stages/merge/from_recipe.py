"""`merge.py recipe=FILE.yml`: a mergekit YAML as the parents and the method of a job."""

from __future__ import annotations

import importlib.resources
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf, open_dict

from src.checkpoints import Checkpoint
from src.merging.engine.chat_files import template_of
from src.merging.mergekit_yaml.parents import parents_of
from src.merging.mergekit_yaml.read import MergekitRecipe, read_recipe
from src.merging.mergekit_yaml.translate import translate
from src.merging.tensors.lora_adapter import is_adapter
from src.stages.checkpoints import written_checkpoint
from src.stages.job import Job, compose_config
from src.utils.errors import UserError, unknown_choice
from src.utils.progress import say

DECIDED = ("merge", "base", "specialists", "model", "tasks")  # by the recipe, so that the command cannot


def with_recipe(job: Job) -> Job:
    """Fill in parents and method of a job from its `recipe=`; a job without one comes back unchanged.

    `seed` seeds the masks, as `--random-seed` of mergekit does.

    Raises:
        UserError: The recipe cannot be read or run, or the command has keys that it decides.
    """
    if job.cfg.recipe is None:
        return job
    typed = [word for word in job.overrides if word.lstrip("+~").partition("=")[0].partition(".")[0] in DECIDED]
    if typed:
        raise UserError(f"recipe={job.cfg.recipe} names parents and method; remove {', '.join(typed)} from the command")
    try:
        return replace(job, cfg=_filled(job.cfg, Path(job.cfg.recipe).expanduser()))
    except UserError as error:
        raise UserError(f"recipe={job.cfg.recipe}: {error}") from error


def _filled(cfg: DictConfig, path: Path) -> DictConfig:
    if not path.is_file():
        raise UserError("no such file; expected a mergekit YAML")
    recipe = read_recipe(path.read_text(encoding="utf-8"))
    parents = parents_of(recipe)
    places = {label: written_checkpoint(path, "model", cfg.allow_pickle) for label, path in parents.places.items()}
    base = written_checkpoint(parents.base.path, "base_model", cfg.allow_pickle)
    opened = {place: Checkpoint(place, cfg.allow_pickle) for place in (base, *places.values()) if not is_adapter(place)}
    found = translate(recipe, [name for name, info in opened[base].table.items() if info.dtype.is_floating_point])
    keys = dict(found.keys)
    if found.method == "mergekit":
        _check_arithmetic(recipe, list(opened.values()))
    if recipe.chat_template is not None:
        keys["template"] = _template(recipe, {"base": base, **places})
    if keys["dtype"] is None:
        keys["dtype"] = _promoted(list(opened.values()))
    for note in found.notes:
        say(f"recipe={cfg.recipe}: {note}")
    node = OmegaConf.to_container(compose_config("merge", [f"merge={found.method}"]).merge)
    assert isinstance(node, dict)
    assert keys.keys() <= node.keys()
    seed = {"seed": cfg.seed} if "seed" in node else {}
    filled = cfg.copy()
    with open_dict(filled):
        filled.base = parents.base.path
        filled.specialists = OmegaConf.create(parents.places)
        filled.merge = OmegaConf.create(node | keys | seed)
    return filled


def _check_arithmetic(recipe: MergekitRecipe, parents: Sequence[Checkpoint]) -> None:
    dtypes = {str(info.dtype).removeprefix("torch.") for one in parents for info in one.table.values()}
    if recipe.arithmetic is not None and recipe.arithmetic not in dtypes:
        raise UserError(
            f"dtype: {recipe.arithmetic}: {recipe.method} runs in mergekit with arithmetic in the dtype of the models "
            f"({', '.join(sorted(dtypes))}); leave dtype out, and set out_dtype"
        )


def _promoted(parents: Sequence[Checkpoint]) -> str | None:
    """The dtype that holds those of all parents, which mergekit writes without `dtype`; None: those of the base."""
    dtypes = [{info.dtype for info in one.table.values() if info.dtype.is_floating_point} for one in parents]
    if all(found == dtypes[0] for found in dtypes):
        return None
    return str(reduce(torch.promote_types, set().union(*dtypes))).removeprefix("torch.")


def _template(recipe: MergekitRecipe, places: Mapping[str, Path]) -> str:
    """A parent, a file or the text of a template, for `merge.template`."""
    asked = str(recipe.chat_template)
    if "{" in asked:
        return asked
    if asked != "auto":
        return _file_of_mergekit(asked)
    found = {label: (template_of(place) or {}).get("default") for label, place in places.items()}
    [(most, _)] = Counter(text.strip() for text in found.values() if text).most_common(1) or [("", 0)]
    return next((label for label, text in found.items() if most and text and text.strip() == most), "base")


def _file_of_mergekit(name: str) -> str:
    try:
        folder = importlib.resources.files("mergekit._data.chat_templates")
    except ModuleNotFoundError as error:
        raise UserError(f"chat_template: {name} is a file of mergekit, which is not installed") from error
    known: dict[str, Any] = {one.name.removesuffix(".jinja"): one for one in folder.iterdir() if ".jinja" in one.name}
    if name not in known:
        raise unknown_choice("chat_template", name, ["auto", *known])
    return str(known[name])
