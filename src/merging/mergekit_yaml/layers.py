"""Values of a parameter over the tensors of a model, as `src.merging.schedule` takes them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from src.checkpoints.layers import locate
from src.merging.mergekit_yaml.read import FRANKENMERGE, Span
from src.merging.mergekit_yaml.settings import Entry, Scalar, Setting
from src.merging.schedule import DEFAULT, Schedule
from src.utils.errors import UserError


class Layers:
    """Tensors of a model, by their layers.

    Args:
        names: Those that are merged.
        count: Number of layers; None: as many as `names` have.
    """

    def __init__(self, names: Sequence[str], count: int | None = None) -> None:
        self._places = {name: locate(name) for name in names}
        blocks = [place.block for place in self._places.values() if place.block is not None]
        self.count = 1 + max(blocks, default=-1) if count is None else count

    def join(self, parts: Sequence[tuple[Span, Setting]]) -> Setting:
        """One setting for all layers.

        Args:
            parts: Setting of each span of the recipe.

        Raises:
            UserError: The last span is not the end of the network.
        """
        last, setting = parts[-1]
        if last.last not in (None, self.count):
            raise UserError(f"{last.where}: ends with layer {last.last} of {self.count}: {FRANKENMERGE}")
        if all(one == setting for _, one in parts) and (len(parts) == 1 or setting.constant is not None):
            return setting
        return Setting(tuple(self._entries({name: self._value(parts, name) for name in self._places})))

    def at(self, setting: Setting, name: str) -> Scalar:
        """The value for one tensor; lists are spread over all layers."""
        block = self._places[name].block
        if block is None:
            return setting.at(name, 0.0)
        return setting.at(name, block / (self.count - 1) if self.count > 1 else 1.0)

    def without(self, names: Collection[str]) -> Layers:
        """The same layers without some of their tensors."""
        return Layers([name for name in self._places if name not in names], self.count)

    def _value(self, parts: Sequence[tuple[Span, Setting]], name: str) -> Scalar:
        """mergekit spreads a list over the layers of its span, and takes its beginning outside of layers."""
        place = self._places[name]
        if place.block is None:
            return parts[0 if place.kind == "embeddings" else -1][1].at(name, 0.0)
        span, setting = next((span, one) for span, one in parts if place.block < (span.last or self.count))
        length = (span.last or self.count) - span.first
        return setting.at(name, (place.block - span.first) / (length - 1) if length > 1 else 1.0)

    def _entries(self, values: Mapping[str, Scalar]) -> list[Entry]:
        """Entries that give every tensor its value: by layers where all tensors of a layer agree, else by names."""
        if len(set(values.values())) == 1:
            return [Entry(None, tuple(set(values.values())))]
        layers: dict[str, dict[str, Scalar]] = {}
        for name, value in values.items():
            layers.setdefault(f"{self._places[name].layer}.", {})[name] = value
        found = []
        for layer, named in layers.items():
            one = set(named.values())
            found += [Entry(layer, tuple(one))] if len(one) == 1 else [Entry(k, (v,)) for k, v in named.items()]
        return [*found[:-1], Entry(None, found[-1].values)]

    def without_effect(self, setting: Setting) -> list[str]:
        """Filters of a setting that decide for no tensor."""
        used = {setting.entry_for(name) for name in self._places}
        return [entry.filter for entry in setting.entries if entry not in used and entry.filter is not None]

    def plain(self, key: str, setting: Setting) -> Any:
        """The value for a key of a merge method.

        Args:
            key: For messages.
            setting: Its entries that decide for no tensor, which mergekit takes, are left out.
        """
        used = {setting.entry_for(name) for name in self._places}
        entries = [entry for entry in dict.fromkeys(setting.entries) if entry in used]
        parts = [(DEFAULT if one.filter is None else re.escape(one.filter), one.values) for one in entries]
        if len(parts) == 1:
            parts = [(DEFAULT, parts[0][1])]
        return Schedule(key, tuple((pattern, tuple(map(float, values))) for pattern, values in parts)).plain
