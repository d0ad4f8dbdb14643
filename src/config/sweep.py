"""Configs of a sweep's jobs: one composition per distinct set of group choices, and copies for the values that vary."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import cache

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException


class SweepComposer:
    """Compose the jobs of a sweep; equal to composing each of them, which takes 0.1 seconds per job.

    Hydra first gathers the files of the chosen groups and then sets plain values, in their order. Jobs that differ only
    in plain values share the first step.

    Args:
        compose: Hydra's composition of a job from its overrides.
        is_group: True for the name of a config group.
    """

    def __init__(self, compose: Callable[[list[str]], DictConfig], is_group: Callable[[str], bool]) -> None:
        self._compose = compose
        self._is_group = cache(is_group)
        self._parser = OverridesParser.create()
        self._by_choices: dict[tuple[str, ...], DictConfig] = {}

    def __call__(self, overrides: Sequence[str]) -> DictConfig:
        """Config of the job with these overrides."""
        parsed = self._parser.parse_overrides(list(overrides))
        values = [override for override in parsed if not self._is_group(override.key_or_group)]
        if not all(map(_sets_value, values)):
            return self._compose(list(overrides))
        choices = tuple(str(override.input_line) for override in parsed if override not in values)
        if choices not in self._by_choices:
            self._by_choices[choices] = self._compose(list(choices))
        cfg = copy.deepcopy(self._by_choices[choices])
        try:
            for override in values:
                OmegaConf.update(cfg, override.key_or_group, override.value(), merge=True)
        except OmegaConfBaseException:
            return self._compose(list(overrides))  # for Hydra's own error
        return cfg


def _sets_value(override: Override) -> bool:
    """True for `key=value`; adding and removing keys, and Hydra's own settings, are left to Hydra."""
    plain = not (override.is_add() or override.is_force_add() or override.is_delete() or override.is_sweep_override())
    return plain and override.package is None and not override.is_hydra_override()
