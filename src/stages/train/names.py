"""Name and identity of a training run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from src.models import ModelSpec
from src.runs.paths import training_name, words_for_parents
from src.stages.checkpoints import model_label, trained_directory
from src.stages.job import Job, task_of

# keys that change a run's speed and memory, not its result
SPEED = (
    *("trainer.devices", "trainer.nodes", "trainer.mesh", "trainer.reduce", "data.cache", "data.workers"),
    *("strategy.micro_batch", "model.gradient_checkpointing"),
)
BASE_KEYS = {"model", "debug", "seed", "output_root", "logger", "hydra"}  # keys that a base depends on
CHOOSING = ("select", "validate_every", "patience", "min_delta")  # keys of `checkpoint` that decide with select=best
# keys of `checkpoint` that do not change the resulting weights
SAVING = tuple(f"checkpoint.{key}" for key in ("every_steps", "every_seconds", "max_share", "keep", "validate_every"))


def run_directory(job: Job) -> Path:
    """Run directory of a training job."""
    cfg = job.cfg
    task = task_of(cfg) if cfg.strategy.name == "specialist" else None
    named = ("model", "strategy", "task", "seed", *SPEED, *SAVING, *([] if _depends_on_tasks(cfg) else ["tasks"]))
    is_published = cfg.strategy.name == "base" and cfg.model.path is not None
    extras = [] if is_published else [*job.extras(named), *_start_word(cfg)]
    return job.directory(training_name(model_label(cfg.model), cfg.strategy.name, task, cfg.seed, extras))


def _start_word(cfg: DictConfig) -> list[str]:
    """A word for a run that starts from another base than the standard one, else nothing."""
    if cfg.base is None or cfg.strategy.name not in ("specialist", "mix"):
        return []
    standard = trained_directory(cfg, "base", None).name
    found = words_for_parents({"base": Path(str(cfg.base))}, {"base": standard}, cfg.output_root)
    return [f"from{word}" for word in found]


def run_identity(job: Job) -> dict[str, Any]:
    """Settings that determine the weights, without those of the merge, other tasks and devices."""
    identity = job.identity()
    identity.pop("merge")
    identity["task"] = task_of(job.cfg) if job.cfg.strategy.name == "specialist" else None
    if not _depends_on_tasks(job.cfg):
        identity.pop("tasks")
    if job.cfg.checkpoint.select == "best":
        identity["checkpoint"] = {key: job.cfg.checkpoint[key] for key in CHOOSING}
    for node, key in (name.split(".") for name in SPEED):
        identity[node] = {name: value for name, value in identity[node].items() if name != key}
    return identity


def _depends_on_tasks(cfg: DictConfig) -> bool:
    return cfg.strategy.name != "base" or bool(cfg.data.decontaminate)


def base_overrides(job: Job, model: ModelSpec) -> list[str]:
    """Overrides of the run that makes the base of another run."""
    kept = BASE_KEYS if model.is_drawn else BASE_KEYS - {"model"}  # pretraining has its own settings
    return ["strategy=base", *(override for override in job.overrides if root_key(override) in kept)]


def root_key(override: str) -> str:
    """The first word of an override: `merge` of `+merge.weight=0.3`."""
    return re.split(r"[.=]", override.lstrip("+~"), maxsplit=1)[0]
