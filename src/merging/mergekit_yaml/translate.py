"""A mergekit recipe in our words: method, keys of conf/merge, base and specialists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from src.merging.mergekit_yaml.counterparts import BY_MERGEKIT_NAME, Counterpart, Parameter
from src.merging.mergekit_yaml.labels import labels_of
from src.merging.mergekit_yaml.read import FRANKENMERGE, MergekitRecipe, Model, Span
from src.merging.mergekit_yaml.settings import Entry, Setting, complete, entries_of
from src.utils.errors import UserError, unknown_choice

ANYWHERE = "int8_mask"  # recipes carry it whatever the method; it only says how mergekit holds its masks


@dataclass(frozen=True)
class Translation:
    """A merge that means here what its recipe means in mergekit.

    Args:
        method: Choice of conf/merge.
        keys: Keys of the method; all others keep their defaults.
        base: Path or Hub name of the base.
        specialists: Path or Hub name by label; of an adapter, its own.
        notes: What the recipe says without effect, for the user.
    """

    method: str
    keys: dict[str, Any]
    base: str
    specialists: dict[str, str]
    notes: tuple[str, ...]


def translate(recipe: MergekitRecipe, layers: int | None = None) -> Translation:
    """Translate a recipe.

    Args:
        recipe: As read.
        layers: Number of layers of the base; None where it is not known.

    Raises:
        UserError: We lack the method or one of its options, a parameter is unknown or missing, or the models do not fit
            the method. The message names the key.
    """
    counterpart = BY_MERGEKIT_NAME.get(recipe.method)
    if counterpart is None:
        raise unknown_choice("merge_method", recipe.method, list(BY_MERGEKIT_NAME))
    _check_last_layer(recipe, layers)
    inputs = _inputs(recipe, counterpart)
    found = _Parameters(recipe, counterpart, inputs)
    specialists = labels_of(inputs)
    keys = found.keys(list(specialists.values()), list(specialists))
    base = _base(recipe, counterpart, inputs)
    return Translation(
        counterpart.ours,
        {**counterpart.fixed, **keys, **_space(recipe, counterpart), **_files(recipe, specialists)},
        base.path,
        {label: _place(model, base) for label, model in specialists.items()},
        found.notes,
    )


def _check_last_layer(recipe: MergekitRecipe, layers: int | None) -> None:
    last = recipe.spans[-1]
    if last.last is not None and layers is not None and last.last != layers:
        raise UserError(f"{last.where}: ends with layer {last.last} of {layers}: {FRANKENMERGE}")


def _inputs(recipe: MergekitRecipe, counterpart: Counterpart) -> list[Model]:
    """The models that are merged, without the base where it is the origin of the task vectors."""
    models, base = [source.model for source in recipe.spans[0].sources], recipe.base
    if counterpart.base in ("required", "first") and base is None:
        raise UserError(f"base_model is missing; {recipe.method} needs it")
    if counterpart.base == "first":
        models = [base, *(model for model in models if model != base)]  # type: ignore[list-item]
    elif counterpart.base == "input":
        models += [] if base is None or base in models else [base]
    else:
        models = [model for model in models if model != base]
    least, most = counterpart.models
    if len(models) < least or (most is not None and len(models) > most):
        bound = f"{least}" if least == most else f"at least {least}"
        besides = " besides base_model" if counterpart.base in ("required", "optional") else ""
        raise UserError(f"models: {recipe.method} takes {bound}{besides}, got {len(models)}")
    return models


def _base(recipe: MergekitRecipe, counterpart: Counterpart, inputs: Sequence[Model]) -> Model:
    """The parent that names, shapes and dtypes are taken from: the first one, where the method has no base."""
    found = recipe.base or inputs[0]
    if found.lora is None:
        return found
    if counterpart.base in ("required", "optional") and recipe.base is not None:
        raise UserError(f"base_model: {found}: an adapter cannot be the base; merge it into {found.path} first")
    return Model(found.path)


def _place(model: Model, base: Model) -> str:
    if model.lora is None:
        return model.path
    if model.path != base.path:
        raise UserError(
            f"{model}: its adapter is on another model than the base of the merge ({base}); merge it into its own first"
        )
    return model.lora


def _space(recipe: MergekitRecipe, counterpart: Counterpart) -> dict[str, Any]:
    if counterpart.base != "optional":
        return {}
    return {"space": "weights" if recipe.base is None else "deltas"}


def _files(recipe: MergekitRecipe, specialists: Mapping[str, Model]) -> dict[str, str | None]:
    """Whose tokenizer, chat template and generation config the merge gets: the base's, as in mergekit."""
    keys: dict[str, Any] = {
        "dtype": recipe.dtype,
        "generation_config": "base",
        "tokenizer": "equal",
        "template": "base",
    }
    source = recipe.tokenizer
    if source is None:
        return keys
    if isinstance(source, str) or source == recipe.base:
        return keys | {"tokenizer": source if isinstance(source, str) else "base", "template": None}
    label = next((label for label, model in specialists.items() if model == source), None)
    if label is None:
        raise UserError(f"tokenizer_source: {source} is none of the models; expected base, union, or one of them")
    return keys | {"template": label}


class _Parameters:
    """Parameters of a recipe, looked up as mergekit does: of the model, then of its slice, then of the merge."""

    def __init__(self, recipe: MergekitRecipe, counterpart: Counterpart, inputs: Sequence[Model]) -> None:
        self._recipe = recipe
        self._counterpart = counterpart
        self._inputs = inputs
        self._notes: dict[str, None] = {}
        self._check_names()

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(self._notes)

    def keys(self, models: Sequence[Model], labels: Sequence[str]) -> dict[str, Any]:
        """Values of our keys."""
        found: dict[str, Any] = {}
        for name, parameter in self._counterpart.parameters.items():
            values = [self._value(name, parameter, model) for model in (models if parameter.per_model else [None])]
            if parameter.ours is None:
                self._without_effect(name, parameter, values)
            elif name == "weight":
                found["weights"] = dict(zip(labels, values, strict=True))
            elif name == "t":
                found["weights"] = dict(zip(labels, (1 - values[0], values[0]), strict=True))
            else:
                found[parameter.ours] = _in_our_words(name, self._same(name, values))
        return found

    def _value(self, name: str, parameter: Parameter, model: Model | None) -> Any:
        settings = [self._setting(name, parameter, model, span) for span in self._recipe.spans]
        constants = {setting.constant for setting in settings}
        if len(constants) > 1 or None in constants:
            raise UserError(f"parameters.{name}: values that differ between layers or tensors are not supported")
        return constants.pop()

    def _setting(self, name: str, parameter: Parameter, model: Model | None, span: Span) -> Setting:
        own = [source for source in span.sources if source.model == model]
        scopes = [(source.parameters, source.where) for source in own]
        scopes += [(span.parameters, span.where), (self._recipe.parameters, "")]
        entries: list[Entry] = []
        for parameters, where in scopes:
            if name in parameters:
                entries += entries_of(parameters[name], _key(where, name), parameter.convert)
        found = complete(entries, parameter.default)
        if found is None:
            place = f" of {model}" if model is not None else ""
            raise UserError(f"parameters.{name}{place} is missing for some tensors; {self._recipe.method} needs it")
        return found

    def _same(self, name: str, values: list[Any]) -> Any:
        if len(set(values)) > 1:
            raise UserError(f"parameters.{name}: a value per model is not supported, got {values}")
        return values[0]

    def _without_effect(self, name: str, parameter: Parameter, values: list[Any]) -> None:
        if parameter.only is not None and values != [parameter.only]:
            raise UserError(f"parameters.{name}: expected {parameter.only}, got {values[0]}; others are not supported")
        if parameter.only is None and any(value != parameter.default for value in values):
            self._notes[f"{name} does not change the result of {self._recipe.method}"] = None

    def _check_names(self) -> None:
        known = self._counterpart.parameters
        for parameters, where, owner in self._scopes():
            for name in parameters:
                if name == ANYWHERE and name not in known:
                    self._notes[f"{name} does not change the result of {self._recipe.method}"] = None
                elif name not in known:
                    place = f"{where}.parameters".lstrip(".")
                    raise unknown_choice(f"key of {self._recipe.method} in {place}", name, list(known))
                elif owner is not None and not known[name].per_model:
                    raise UserError(f"{_key(where, name)}: is for all models; move it to parameters")
                elif owner is not None and owner not in self._inputs:
                    self._notes[f"parameters of base_model do not change the result of {self._recipe.method}"] = None

    def _scopes(self) -> list[tuple[Mapping[str, Any], str, Model | None]]:
        found: list[tuple[Mapping[str, Any], str, Model | None]] = [(self._recipe.parameters, "", None)]
        for span in self._recipe.spans:
            found.append((span.parameters, span.where, None))
            found += [(source.parameters, source.where, source.model) for source in span.sources]
        return found


def _key(where: str, name: str) -> str:
    return f"{where}.parameters.{name}".lstrip(".")


def _in_our_words(name: str, value: Any) -> Any:
    if name == "rescale":
        return "l1" if value else "none"
    if name == "nuslerp_flatten":
        return not value
    return min(value, 1.0) if name in ("density", "select_topk") else value
