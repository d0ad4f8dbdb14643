"""Base and specialists of a mergekit recipe, with short names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from src.merging.mergekit_yaml.counterparts import BY_MERGEKIT_NAME, Counterpart
from src.merging.mergekit_yaml.read import MergekitRecipe, Model
from src.runs.paths import checkpoint_label
from src.utils.errors import UserError, unknown_choice

RESERVED = "base"


@dataclass(frozen=True)
class RecipeParents:
    """Parents of a recipe.

    Args:
        base: The model that names, shapes and dtypes are taken from: the first one, where the method has no base.
        specialists: The merged models by label, in the order of the recipe.
    """

    base: Model
    specialists: dict[str, Model]

    @property
    def places(self) -> dict[str, str]:
        """Path or Hub name of every specialist; of an adapter, its own.

        Raises:
            UserError: An adapter is on another model than the base.
        """
        return {label: _place(model, self.base) for label, model in self.specialists.items()}


def counterpart_of(recipe: MergekitRecipe) -> Counterpart:
    """Our counterpart of the method; raises a `UserError` if there is none."""
    if recipe.method not in BY_MERGEKIT_NAME:
        raise unknown_choice("merge_method", recipe.method, list(BY_MERGEKIT_NAME))
    return BY_MERGEKIT_NAME[recipe.method]


def parents_of(recipe: MergekitRecipe) -> RecipeParents:
    """Base and specialists of a recipe.

    Raises:
        UserError: We lack the method, or it does not take these models.
    """
    counterpart = counterpart_of(recipe)
    inputs = _inputs(recipe, counterpart)
    base = recipe.base or inputs[0]
    if base.lora is not None:
        if counterpart.base in ("required", "optional") and recipe.base is not None:
            raise UserError(f"base_model: {base}: an adapter cannot be the base; merge it into {base.path} first")
        base = Model(base.path)
    return RecipeParents(base, labels_of(inputs))


def labels_of(models: Sequence[Model]) -> dict[str, Model]:
    """A short unique name for every model, in their order: the end of its path, and as much more as tells them apart.

    An adapter is named by its own path.

    Args:
        models: No two are equal.

    Example:
        >>> list(labels_of([Model("org/coder-7b"), Model("/a/run1/final"), Model("/a/run2/final")]))
        ['coder-7b', 'run1-final', 'run2-final']
    """
    paths = [model.lora or model.path for model in models]
    found = [checkpoint_label(path) for path in paths]
    for length in range(2, 2 + max((len(PurePath(path).parts) for path in paths), default=0)):
        open_ones = [index for index, name in enumerate(found) if name == RESERVED or found.count(name) > 1]
        if not open_ones:
            break
        for index in open_ones:
            found[index] = "-".join(part.strip("/") for part in PurePath(paths[index]).parts[-length:])
    numbered = [name if found.index(name) == index else f"{name}-{index}" for index, name in enumerate(found)]
    return dict(zip(numbered, models, strict=True))


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


def _place(model: Model, base: Model) -> str:
    if model.lora is None:
        return model.path
    if model.path != base.path:
        raise UserError(
            f"{model}: its adapter is on another model than the base of the merge ({base}); merge it into its own first"
        )
    return model.lora
