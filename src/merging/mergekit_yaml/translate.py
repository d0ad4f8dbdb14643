"""A mergekit recipe in our words: method and keys of conf/merge."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from src.merging.mergekit_yaml.counterparts import NESTED, Parameter
from src.merging.mergekit_yaml.layers import Layers
from src.merging.mergekit_yaml.parameters import Parameters
from src.merging.mergekit_yaml.parents import RecipeParents, counterpart_of, parents_of
from src.merging.mergekit_yaml.read import MergekitRecipe
from src.merging.mergekit_yaml.settings import Entry, Scalar, Setting, number
from src.utils.errors import UserError


@dataclass(frozen=True)
class Translation:
    """A merge that means here what its recipe means in mergekit.

    Args:
        method: Choice of conf/merge.
        keys: Keys of the method; all others keep their defaults.
        notes: What the recipe says without effect, for the user.
    """

    method: str
    keys: dict[str, Any]
    notes: tuple[str, ...]


def translate(recipe: MergekitRecipe, names: Sequence[str]) -> Translation:
    """Translate a recipe.

    Args:
        recipe: As read.
        names: Floating-point tensors of the base.

    Raises:
        UserError: We lack the method or one of its options, a parameter is unknown or missing, or the models do not fit
            the method. The message names the key.
    """
    counterpart, parents = counterpart_of(recipe), parents_of(recipe)
    found = _Keys(Parameters(recipe, counterpart, list(parents.specialists.values())), parents, names)
    keys = {**counterpart.fixed, **found.keys(), **_files(recipe, parents)}
    if counterpart.base == "optional":
        keys["space"] = "weights" if recipe.base is None else "deltas"
    return Translation(counterpart.ours, keys, tuple(dict.fromkeys([*found.parameters.notes(), *found.lost])))


def _files(recipe: MergekitRecipe, parents: RecipeParents) -> dict[str, str | None]:
    """Whose tokenizer, chat template and generation config the merge gets: the base's, as in mergekit."""
    keys = {"dtype": recipe.dtype, "generation_config": "base", "tokenizer": "equal", "template": "base"}
    source = recipe.tokenizer
    if source is None:
        return keys
    if isinstance(source, str) or source == recipe.base:
        return keys | {"tokenizer": source if isinstance(source, str) else "base", "template": None}
    label = next((label for label, model in parents.specialists.items() if model == source), None)
    if label is None:
        raise UserError(f"tokenizer_source: {source} is none of the models; expected base, union, or one of them")
    return keys | {"template": label}


class _Keys:
    """Values of our keys."""

    def __init__(self, parameters: Parameters, parents: RecipeParents, names: Sequence[str]) -> None:
        self.parameters = parameters
        self.lost: list[str] = []
        self._models = parents.specialists
        self._names = names
        self._every = Layers(names)
        self._layers = self._every  # without the excluded tensors

    def keys(self) -> dict[str, Any]:
        """All of them."""
        found: dict[str, Any] = {}
        weights = self._coefficients()
        if weights:
            found |= self._without_coefficient(weights)
        for name, parameter in self.parameters.counterpart.parameters.items():
            if parameter.ours is None:
                self._require_supported(name, parameter)
            elif parameter.ours.startswith(NESTED):
                found.setdefault("parameters", {})[name] = self._constant(name)
            elif parameter.ours != "weights":
                found[parameter.ours] = self._value(name, parameter)
        if weights:
            found["weights"] = {label: self._plain("weight", setting) for label, setting in weights.items()}
        return found

    def _coefficients(self) -> dict[str, Setting]:
        known = self.parameters.counterpart.parameters
        if self.parameters.counterpart.theirs == "slerp":
            second = self.parameters.setting("t", None, self._layers)
            return dict(zip(self._models, (_rest(second), second), strict=True))
        if "weight" not in known:
            return {}
        return {label: self.parameters.setting("weight", model, self._layers) for label, model in self._models.items()}

    def _without_coefficient(self, weights: Mapping[str, Setting]) -> dict[str, Any]:
        """Exclude tensors whose coefficients are all zero: they keep the values of the base."""
        if self.parameters.counterpart.base != "required":
            return {}
        zero = {name for name in self._names if all(self._layers.at(one, name) == 0 for one in weights.values())}
        if len(zero) in (0, len(self._names)):
            return {}
        filters = dict.fromkeys(entry.filter for setting in weights.values() for entry in setting.entries)
        parts = [one for one in filters if one is not None and all(name in zero for name in self._names if one in name)]
        parts = [one for one in parts if any(one in name for name in zero)]
        rest = [
            f"^{re.escape(name)}$" for name in self._names if name in zero and not any(one in name for one in parts)
        ]
        self._layers = self._layers.without(zero)
        return {"exclude": "|".join([*map(re.escape, parts), *rest])}

    def _value(self, name: str, parameter: Parameter) -> Any:
        if parameter.convert is not number:
            return _in_our_words(name, self._constant(name))
        if not parameter.per_model:
            return self._plain(name, self.parameters.setting(name, None, self._layers))
        found = {
            label: self._plain(name, self.parameters.setting(name, model, self._layers))
            for label, model in self._models.items()
        }
        first = next(iter(found.values()))
        return first if all(value == first for value in found.values()) else found

    def _plain(self, name: str, setting: Setting) -> Any:
        lost = self._every.without_effect(setting)
        self.lost += [f"filter {part} of {name} decides for no tensor" for part in lost]
        return self._layers.plain(f"merge.{name}", setting)

    def _constant(self, name: str) -> Scalar:
        found = self.parameters.setting(name, None, self._layers).constant
        if found is None:
            raise UserError(f"parameters.{name}: expected one value for all layers")
        return found

    def _require_supported(self, name: str, parameter: Parameter) -> None:
        if parameter.only is not None and self._constant(name) != parameter.only:
            raise UserError(f"parameters.{name}: only {parameter.only} is supported, got {self._constant(name)}")


def _rest(second: Setting) -> Setting:
    return Setting(tuple(Entry(one.filter, tuple(1 - value for value in one.values)) for one in second.entries))


def _in_our_words(name: str, value: Any) -> Any:
    if name == "rescale":
        return "l1" if value else "none"
    return not value if name == "nuslerp_flatten" else value
