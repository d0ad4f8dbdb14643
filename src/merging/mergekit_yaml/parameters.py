"""Parameters of a mergekit recipe, looked up as mergekit does: of the model, then of its slice, then of the merge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from src.merging.mergekit_yaml.counterparts import Counterpart, Parameter
from src.merging.mergekit_yaml.layers import Layers
from src.merging.mergekit_yaml.read import MergekitRecipe, Model, Span
from src.merging.mergekit_yaml.settings import Entry, Setting, complete, entries_of
from src.utils.errors import UserError, unknown_choice

ANYWHERE = "int8_mask"  # recipes carry it whatever the method; it only says how mergekit holds its masks


@dataclass(frozen=True)
class Parameters:
    """Parameters of a recipe.

    Args:
        recipe: As read.
        counterpart: Of its method.
        models: Those that are merged.

    Raises:
        UserError: The recipe has a parameter that its method lacks, or one in a wrong place.
    """

    recipe: MergekitRecipe
    counterpart: Counterpart
    models: Sequence[Model]

    def __post_init__(self) -> None:
        for parameters, where, owner in self._scopes():
            self._check_names(parameters, where, owner)

    def setting(self, name: str, model: Model | None, layers: Layers) -> Setting:
        """Values of one parameter.

        Args:
            name: mergekit's.
            model: The model whose parameter it is; None: it is for all.
            layers: Tensors of the base.

        Raises:
            UserError: Some tensors have no value.
        """
        parameter = self.counterpart.parameters[name]
        return layers.join([(span, self._of_span(name, parameter, model, span)) for span in self.recipe.spans])

    def notes(self) -> Iterator[str]:
        """Settings of the recipe that have no effect."""
        known = self.counterpart.parameters
        for parameters, _, owner in self._scopes():
            if parameters and owner is not None and owner not in self.models:
                yield f"parameters of base_model do not change the result of {self.recipe.method}"
            for name, value in parameters.items():
                if name == ANYWHERE or (known[name].ours is None and value != known[name].default):
                    yield f"{name} does not change the result of {self.recipe.method}"

    def _of_span(self, name: str, parameter: Parameter, model: Model | None, span: Span) -> Setting:
        scopes = [(source.parameters, source.where) for source in span.sources if source.model == model]
        scopes += [(span.parameters, span.where), (self.recipe.parameters, "")]
        entries: list[Entry] = []
        for parameters, where in scopes:
            if name in parameters:
                entries += entries_of(parameters[name], _key(where, name), parameter.convert)
        found = complete(entries, parameter.default)
        if found is None:
            place = f" of {model}" if model is not None else ""
            raise UserError(f"parameters.{name}{place} is missing for some tensors; {self.recipe.method} needs it")
        return found

    def _check_names(self, parameters: Mapping[str, Any], where: str, owner: Model | None) -> None:
        known = self.counterpart.parameters
        for name in parameters:
            if name == ANYWHERE:
                continue
            if name not in known:
                place = f"{where}.parameters".lstrip(".")
                raise unknown_choice(f"key of {self.recipe.method} in {place}", name, list(known))
            if owner is not None and not known[name].per_model:
                raise UserError(f"{_key(where, name)}: is for all models; move it to parameters")

    def _scopes(self) -> Iterator[tuple[Mapping[str, Any], str, Model | None]]:
        yield self.recipe.parameters, "", None
        for span in self.recipe.spans:
            yield span.parameters, span.where, None
            for source in span.sources:
                yield source.parameters, source.where, source.model


def _key(where: str, name: str) -> str:
    return f"{where}.parameters.{name}".lstrip(".")
