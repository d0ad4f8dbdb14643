"""Choices of the config groups: the files of conf/GROUP whose names do not begin with `_`.

`_common.yaml` and similar files hold keys that several choices include through `defaults`; they are not choices.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from src.utils.errors import unknown_choice

CONF = Path(__file__).resolve().parents[2] / "conf"


def check_choices(arguments: Iterable[str]) -> None:
    """Refuse `merge=_common`.

    Args:
        arguments: Of the command line.

    Raises:
        UserError: A group is set to a file that is not a choice.
    """
    for argument in arguments:
        typed = re.fullmatch(r"\+*([\w/]+)(?:@[\w.]+)?=(.*)", argument)
        if typed and (CONF / typed[1]).is_dir():
            for choice in typed[2].split(","):
                if choice.startswith("_"):
                    raise unknown_choice(typed[1], choice, sorted(choices(CONF / typed[1])))


def choices(group: Path) -> list[str]:
    """Names of the choices in the directory of a group."""
    return sorted(path.stem for path in group.glob("*.yaml") if not path.stem.startswith("_"))


def register_group_list() -> None:
    """Register `${config_groups:...}`, which the help pages print, as an OmegaConf resolver."""
    OmegaConf.register_new_resolver("config_groups", _group_list, replace=True)


def _group_list(sources: Iterable[Mapping[str, str]], chosen: Mapping[str, object], *, _root_: DictConfig) -> str:
    """One line per config group of a script, over all directories where Hydra looks for configs.

    Args:
        sources: `hydra.runtime.config_sources`.
        chosen: `hydra.runtime.choices`, which lacks groups with several choices.
        _root_: The script's config, which has these by their names.
    """
    groups = {str(key).partition("@")[0] for key in (*chosen, *_root_)}
    found: dict[str, list[str]] = {}
    for source in sources:
        if source["schema"] == "file" and source["provider"] != "hydra":
            for group in (path for path in Path(source["path"]).iterdir() if path.name in groups and path.is_dir()):
                found.setdefault(group.name, []).extend(choices(group))
    return "\n".join(f"{group}: {', '.join(sorted(set(names)))}" for group, names in sorted(found.items()) if names)
