"""One call of one script: its composed config, and what was typed to get it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from src.config.schemas import register_schemas
from src.utils.files import sha256_json

CONF = Path(__file__).resolve().parents[2] / "conf"
# Keys that say where and how loudly, not what: two runs that differ in these alone are equal.
PLACES = {
    *("output", "output_root", "logger", "base", "specialists", "variants", "checkpoint", "samples"),
    *("predictions", "references", "device", "verify"),
}
LABELED = {"debug", "model.init", "model.shrink"}  # these show in the name as part of the model's


LONGEST_EXTRAS = 100


@dataclass(frozen=True)
class Job:
    """A script with its overrides.

    Attributes:
        script: `train`, `merge`, `evaluate`, `diagnose` or `study`.
        overrides: As typed, e.g. `("strategy=specialist", "task=codegen")`.
        cfg: The composed config.
    """

    script: str
    overrides: tuple[str, ...]
    cfg: DictConfig

    @classmethod
    def current(cls, script: str, cfg: DictConfig) -> Job:
        """The job of the running `@hydra.main` function."""
        return cls(script, tuple(HydraConfig.get().overrides.task), cfg)

    @property
    def command(self) -> list[str]:
        """What to type to get this run again."""
        return ["python", f"{self.script}.py", *(_quoted(override) for override in self.overrides)]

    def identity(self, **replaced: Any) -> dict[str, Any]:
        """The resolved config that decides the result, without places; `replaced` overwrites top-level keys."""
        container = OmegaConf.to_container(self.cfg, resolve=True)
        assert isinstance(container, dict)
        kept = {str(key): value for key, value in container.items() if key not in PLACES}
        return {**kept, **replaced}

    def extras(self, named: tuple[str, ...]) -> list[str]:
        """Overrides that a run's name must show because its standard words do not, e.g. `["steps50"]`.

        Args:
            named: Keys that the name shows anyway, or that do not change the result.
        """
        extras = []
        for override in self.overrides:
            key, _, value = override.lstrip("+~").partition("=")
            place = key if key.startswith("checkpoint.") else key.split(".")[0]  # in training, a group of settings
            if place in PLACES or key in {*named, *LABELED} or key.startswith("hydra"):
                continue
            extras.append(_slug(key.rsplit(".", 1)[-1] + value))
        together = "-".join(extras)
        if len(together) > LONGEST_EXTRAS:  # file systems allow names of 255 bytes
            return [f"custom{sha256_json(extras)[:10]}"]
        return extras

    def directory(self, name: str) -> Path:
        """The run directory: `output` if given, else `<output_root>/<stage>/<name>`."""
        if self.cfg.output is not None:
            return Path(self.cfg.output)
        return Path(self.cfg.output_root) / self.script / name


def compose_job(script: str, overrides: list[str]) -> Job:
    """Compose a script's config as its command line would, inside or outside of a running Hydra."""
    return Job(script, tuple(overrides), compose_config(script, overrides))


def compose_config(name: str | None, overrides: Sequence[str]) -> DictConfig:
    """Compose a root config, also with the `hydra.searchpath` of the running command.

    Args:
        name: A file of conf/; None: nothing but what `overrides` adds.
        overrides: As typed on a command line.
    """
    register_schemas()
    typed = HydraConfig.get().overrides.hydra if HydraConfig.initialized() else []
    places = [override for override in typed if override.startswith("hydra.searchpath=")]
    running = GlobalHydra.instance().is_initialized()
    with contextlib.nullcontext() if running else initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(name, overrides=[*places, *overrides])


def as_overrides(values: Mapping[str, Any]) -> list[str]:
    """`{"merge.weight": 0.3}` as `["merge.weight=0.3"]`; None values are left out."""
    return [f"{key}={value}" for key, value in values.items() if value is not None]


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.+-]+", "_", text).strip("_")[:60]


def _quoted(override: str) -> str:
    return f"'{override}'" if re.search(r"[\s{}\[\]()&|;<>$*?]", override) else override
