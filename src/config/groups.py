"""Choices of the config groups: the files of conf/GROUP whose names do not begin with `_`.

`_common.yaml` and similar files hold keys that several choices include through `defaults`; they are not choices.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from src.utils.errors import unknown_choice

MAY_BE_NULL = ("experiment", "search", "benchmark", "debug")
MAY_BE_EMPTY = ("callbacks", "logger")  # lists of choices
CONF = Path(__file__).resolve().parents[2] / "conf"


def check_choices(arguments: Iterable[str]) -> None:
    """Refuse `merge=_common`, and values that Hydra does not take as names of files: `model=0`, `strategy=[nan]`.

    Args:
        arguments: Of the command line.

    Raises:
        UserError: A group is set to something that is not a choice.
    """
    for argument in arguments:
        typed = re.fullmatch(r"\+*([\w/]+)(?:@[\w.]+)?=(.*)", argument)
        if typed and (CONF / typed[1]).is_dir():
            for choice in _typed_choices(argument, typed[2]):
                if not isinstance(choice, str) or choice.startswith("_"):
                    raise unknown_choice(typed[1], str(choice), sorted(choices(CONF / typed[1])))


def _typed_choices(argument: str, text: str) -> list[Any]:
    """The choices that an override names; of one that Hydra will refuse, what lies between its commas."""
    try:
        override = OverridesParser.create().parse_override(argument)
    except HydraException:
        return list(text.split(","))
    found = override.value()
    if isinstance(found, ChoiceSweep):
        found = [value.text if isinstance(value, QuotedString) else value for value in found.list]
    if found is None:
        return [] if argument.partition("=")[0].lstrip("+") in MAY_BE_NULL else [None]
    if isinstance(found, list):
        return found or [[]] * (argument.partition("=")[0].lstrip("+") not in MAY_BE_EMPTY)
    return [found]


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
