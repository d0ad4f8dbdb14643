"""One call of a script: its composed config, and the overrides that were typed."""

from __future__ import annotations

import contextlib
import copy
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import MissingConfigException
from omegaconf import DictConfig, OmegaConf

from src.config.command_line import unknown_file
from src.config.groups import CONF
from src.config.schemas import register_schemas
from src.runs.paths import run_path
from src.utils.errors import UserError
from src.utils.files import sha256_json

# Keys that say where to read, write and log, not what to compute: runs that differ only in these are equal.
LOCATION_KEYS = {
    *("output", "output_root", "logger", "run", "base", "specialists", "variants", "other_seeds", "checkpoint"),
    *("samples", "predictions", "references", "predictor", "device", "threads", "executor", "verify", "dry_run"),
    *("preflight", "preview", "push_to_hub", "papers"),
    *("push_private", "wandb_report"),
}
# Keys of merge.py and diagnose.py that evaluate.py takes too.
SHARED_KEYS = ("model", "tasks", "debug", "seed", "output_root", "hydra")
LABELED = {"debug", "model.init", "model.shrink"}  # already shown by the model's label
LONGEST_EXTRAS = 100
LONGEST_VALUE = 20  # of a list or mapping
USUAL_TASKS = ["codegen", "codesum"]  # the defaults of conf/job_frame.yaml, which run names leave out


@dataclass(frozen=True)
class Job:
    """A script with its overrides.

    Attributes:
        script: `train`, `merge`, `evaluate`, `diagnose`, `study` or `compare`.
        overrides: As typed, e.g. `("strategy=specialist", "task=codegen")`.
        cfg: The composed config.

    Raises:
        UserError: `tasks=[...]` names no file of conf/tasks, two files of one task, or a file not named after its task.
    """

    script: str
    overrides: tuple[str, ...]
    cfg: DictConfig

    def __post_init__(self) -> None:
        files, found = self._task_files, _task_files_of(self.cfg) if "tasks" in self.cfg else []
        if files is not None and (files != found or not files):
            raise UserError(
                f"tasks=[{','.join(files)}]: expected one file of conf/tasks per task, named as the task or, with "
                f"`variant: fair`, as in codegen_fair; got {', '.join(found) or 'none'}"
            )

    @property
    def _task_files(self) -> list[str] | None:
        """The files of conf/tasks that the overrides name; None if they name none."""
        typed = [override for override in self.overrides if override.startswith("tasks=")]
        if not typed:
            return None
        value = OverridesParser.create().parse_override(typed[-1]).value()
        return [str(file).rpartition("/")[2] for file in (value if isinstance(value, list) else [value])]

    @classmethod
    def current(cls, script: str, cfg: DictConfig) -> Job:
        """The job of the running `@hydra.main` function."""
        typed = HydraConfig.get().overrides
        return cls(script, (*searchpath_of(typed.hydra), *typed.task), cfg)

    @property
    def command(self) -> list[str]:
        """Command that repeats this run."""
        return ["python", f"{self.script}.py", *(quoted_override(override) for override in self.overrides)]

    def varied(self, position: int, values: Mapping[str, str]) -> Job:
        """This job with further plain keys, without composing it again.

        Args:
            position: Place of the new overrides among those typed.
            values: Keys of the config -> values as typed.
        """
        typed = [f"{key}={value}" for key, value in values.items()]
        cfg = copy.deepcopy(self.cfg)
        for override in OverridesParser.create().parse_overrides(typed):
            OmegaConf.update(cfg, override.key_or_group, override.value())
        return Job(self.script, (*self.overrides[:position], *typed, *self.overrides[position:]), cfg)

    def identity(self, **replaced: Any) -> dict[str, Any]:
        """Return the resolved config that determines the result; `replaced` overwrites top-level keys."""
        container = OmegaConf.to_container(self.cfg, resolve=True)
        assert isinstance(container, dict)
        kept = {str(key): value for key, value in container.items() if key not in LOCATION_KEYS}
        return {**kept, **replaced}

    def extras(self, named: tuple[str, ...]) -> list[str]:
        """List the overrides that the run name must show because its standard part does not, e.g. `["steps50"]`.

        Args:
            named: Keys that the name already shows, or that do not change the result.
        """
        extras = []
        for override in self.overrides:
            key, _, value = override.lstrip("+~").partition("=")
            if key == "tasks" and key not in named:
                extras += tasks_words(self.cfg)
                continue
            root = key if key.startswith("checkpoint.") else key.split(".")[0]  # in training, a group of settings
            if root in LOCATION_KEYS or key in {*named, *LABELED} or key.startswith("hydra"):
                continue
            extras.append(_word(key.rsplit(".", 1)[-1], value))
        together = "-".join(extras)
        if len(together) > LONGEST_EXTRAS:  # file systems allow names of 255 bytes
            return [f"custom{sha256_json(extras)[:10]}"]
        return extras

    def directory(self, name: str) -> Path:
        """Return the run directory: `output` if given, else `<output_root>/<stage>/<name>`."""
        if self.cfg.output is not None:
            return Path(self.cfg.output)
        return run_path(self.cfg.output_root, self.script, name)


def searchpath_of(overrides: Iterable[str]) -> list[str]:
    """The `hydra.searchpath=...` among overrides: without it a run cannot be typed again."""
    return [override for override in overrides if override.startswith("hydra.searchpath=")]


def running_searchpath() -> list[str]:
    """The `hydra.searchpath=...` of the running command, if there is one."""
    return searchpath_of(HydraConfig.get().overrides.hydra) if HydraConfig.initialized() else []


def task_of(cfg: DictConfig) -> str:
    """The task of a specialist: `task`, else the first of `tasks`."""
    return str(cfg.task or next(iter(cfg.tasks)))


def tasks_words(cfg: DictConfig) -> list[str]:
    """A word for the names of runs with non-default tasks, e.g. `["codegen_fair+bugfix"]`, else nothing."""
    files = _task_files_of(cfg)
    return [] if files == USUAL_TASKS else ["+".join(files)]


def _task_files_of(cfg: DictConfig) -> list[str]:
    return [f"{task}_{node.variant}" if node.get("variant") else str(task) for task, node in cfg.tasks.items()]


def compose_job(script: str, overrides: list[str]) -> Job:
    """Compose a script's config as its command line would, inside or outside a running Hydra job."""
    return Job(script, tuple(overrides), compose_config(script, overrides))


def compose_config(name: str | None, overrides: Sequence[str]) -> DictConfig:
    """Compose a root config, also with the `hydra.searchpath` of the running command.

    Args:
        name: A file of conf/; None: nothing but what `overrides` adds.
        overrides: As typed on a command line.
    """
    register_schemas()
    places = [place for place in running_searchpath() if place not in overrides]
    running = GlobalHydra.instance().is_initialized()
    with contextlib.nullcontext() if running else initialize_config_dir(str(CONF), version_base="1.3"):
        try:
            return compose(name, overrides=[*places, *overrides])
        except MissingConfigException as error:
            raise unknown_file(error, overrides) from error


def _word(key: str, value: str) -> str:
    """A setting in the name of a run; of long lists and mappings, which may differ in one character, a hash."""
    if value.startswith(("[", "{")) and len(value) > LONGEST_VALUE:
        value = sha256_json(value)[:6]
    return slug(key + value)


def slug(text: str) -> str:
    """A text as a word for the name of a run."""
    return re.sub(r"[^A-Za-z0-9.+-]+", "_", text).strip("_")[:60]


def quoted_override(override: str) -> str:
    """An override as a shell takes it."""
    return shlex.quote(override) if re.search(r"""[\s{}\[\]()&|;<>$*?'"#!~`\\]""", override) else override
