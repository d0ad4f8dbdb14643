"""What a training run is called, and what makes two of them equal."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from src.stages.job import Job
from src.stages.places import SPEED, model_label, trained_name

# keys of `checkpoint` that decide how safely a run is saved, not what it ends with
SAVING = tuple(f"checkpoint.{key}" for key in ("every_steps", "every_seconds", "keep", "validate_every"))


def run_directory(job: Job) -> Path:
    """Where a training job leaves its checkpoint."""
    cfg = job.cfg
    task = cfg.task.name if cfg.strategy.name == "specialist" else None
    is_published = cfg.strategy.name == "base" and cfg.model.path is not None
    extras = [] if is_published else job.extras(("model", "strategy", "task", "seed", *SPEED, *SAVING))
    return job.directory(trained_name(model_label(cfg.model), cfg.strategy.name, task, cfg.seed, extras))


def run_identity(job: Job) -> dict[str, Any]:
    """What decides the weights: no merge settings, of the tasks those that are trained on, no numbers of devices."""
    identity = job.identity()
    identity.pop("merge")
    identity["task"] = job.cfg.task.name if job.cfg.strategy.name == "specialist" else None
    if job.cfg.checkpoint.select == "best":
        identity["checkpoint"] = {key: job.cfg.checkpoint[key] for key in ("select", "validate_every")}
    for node, key in (name.split(".") for name in SPEED):
        identity[node] = {name: value for name, value in identity[node].items() if name != key}
    return identity


def root_key(override: str) -> str:
    """What an override is about: `merge` of `+merge.weight=0.3`, `task@tasks` of `task@tasks.codegen=codegen_fair`."""
    return re.split(r"[.=]", override.lstrip("+~"), maxsplit=1)[0]


def quoted(place: Path) -> str:
    """A path as the value of an override, whatever characters it holds."""
    escaped = str(place).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
