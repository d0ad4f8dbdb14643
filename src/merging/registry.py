"""Merge methods: each YAML in conf/merge holds the keys of one method."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_args, get_type_hints

from src.merging.methods.adaptive import Adaptive
from src.merging.methods.elementwise import ConsensusMasks, Sce
from src.merging.methods.fisher_regmean import Fisher, RegMean, Statistics
from src.merging.methods.knots import Inner, Knots
from src.merging.methods.mergekit import Mergekit, as_mergekit
from src.merging.methods.multislerp import MultiSlerp
from src.merging.methods.pcb import Pcb
from src.merging.methods.rule import Rule
from src.merging.methods.sparsify import Rescale, Sparsity, Trim, sparsities
from src.merging.methods.spectral import Spectral
from src.merging.methods.spherical import Karcher, ModelStock, Slerp, Space
from src.merging.methods.task_vectors import TaskVectors, WeightedMean
from src.merging.methods.wudi import Wudi
from src.merging.recipe import COMMON, Recipe
from src.merging.schedule import varies
from src.utils.errors import UserError
from src.utils.targets import require_trusted

COEFFICIENTS = ("weight", "weights")
PerSpecialist = float | tuple[float, ...]
"""A number, or one per specialist."""


class Method:
    """A merge method: a function that builds its rule, called with all keys of its YAML.

    The keys are the function's arguments (`lambda_` is the key `lambda`, which Python reserves) plus the keys
    common to all methods. Calling it returns a `Recipe`. Arguments annotated as `float` may differ between tensors, and
    the function is called for each set of their values; `PerSpecialist` ones may also differ between specialists.

    Args:
        build: Builds the rule from the method's own keys.
        arxiv: Identifier of the paper, or None.
        weighted: Whether the method takes coefficients.

    Raises:
        UserError: On a call with an unknown or a missing key.
    """

    def __init__(self, build: Callable[..., Rule], arxiv: str | None, weighted: bool) -> None:
        self.name = build.__name__
        self.target = f"{build.__module__}.{build.__qualname__}"
        self.arxiv = arxiv
        self.__doc__ = build.__doc__
        self._build = build
        own = {argument.removesuffix("_"): argument for argument in inspect.signature(build).parameters}
        self._own = own
        self.keys = (*(COEFFICIENTS if weighted else ()), *COMMON, *own)

    def __call__(self, **keys: Any) -> Recipe:
        unknown = sorted(set(keys) - set(self.keys))
        missing = sorted(set(self.keys) - set(keys))
        if unknown or missing:
            raise UserError(
                f"merge={self.name}: {_list('unknown keys', unknown)}{_list('missing keys', missing)}"
                f"it takes {', '.join(self.keys)}"
            )
        settings = {key: _plain(keys[key]) for key in self._own}
        recipe = Recipe(
            target=self.target,
            build=self._as_mergekit if keys["engine"] == "mergekit" else self._rule,
            settings=tuple(settings.items()),
            varying={key: apart for key, apart in self._numbers().items() if varies(settings[key])},
            weight=_plain(keys.get("weight")),
            weights=_plain(keys.get("weights")),
            **{key: keys[key] for key in COMMON},
        )
        recipe.check_settings()
        return recipe

    def _rule(self, settings: Mapping[str, Any]) -> Rule:
        return self._build(**{argument: settings[key] for key, argument in self._own.items()})

    def _as_mergekit(self, settings: Mapping[str, Any]) -> Rule:
        assert self._rule(settings)  # which checks the settings
        return as_mergekit(self.name if self._build.__module__ == __name__ else self.target, settings)

    def _numbers(self) -> dict[str, bool]:
        """Keys that may differ between tensors; true: also between specialists."""
        try:
            hints = get_type_hints(self._build)
        except (NameError, TypeError):  # a name that only type checkers import
            return {}
        found = {key: (hints.get(argument), *get_args(hints.get(argument))) for key, argument in self._own.items()}
        return {key: tuple[float, ...] in members for key, members in found.items() if float in members}


def method(arxiv: str | None = None, weighted: bool = True) -> Callable[[Callable[..., Rule]], Method]:
    """Decorate the function that builds a method's rule.

    Args:
        arxiv: Identifier of the paper, or None.
        weighted: Whether the method takes coefficients.
    """
    return lambda build: Method(build, arxiv, weighted)


@method("2203.05482")
def linear(normalize: bool) -> Rule:
    """Weighted mean of the specialists' weights; the base is not used."""
    return WeightedMean(normalize)


@method("2212.04089")
def task_arithmetic(normalize: bool, lambda_: float) -> Rule:
    """Weighted sum of the task vectors."""
    return TaskVectors(Sparsity(), consensus=False, normalize=normalize, lambda_=lambda_)


@method("2306.01708")
def ties(density: PerSpecialist, trim: Trim, normalize: bool, rescale: Rescale, lambda_: float) -> Rule:
    """Trim to the largest, elect signs, merge what agrees."""
    return TaskVectors(sparsities("magnitude", density=density, rescale=rescale, trim=trim), True, normalize, lambda_)


@method("2311.03099")
def dare(density: PerSpecialist, normalize: bool, rescale: Rescale, lambda_: float, seed: int) -> Rule:
    """Drop at random, rescale, sum (mergekit's `dare_linear`)."""
    return TaskVectors(sparsities("bernoulli", density=density, rescale=rescale, seed=seed), False, normalize, lambda_)


@method("2311.03099")
def dare_ties(density: PerSpecialist, normalize: bool, rescale: Rescale, lambda_: float, seed: int) -> Rule:
    """Drop at random, rescale, elect signs."""
    return TaskVectors(sparsities("bernoulli", density=density, rescale=rescale, seed=seed), True, normalize, lambda_)


@method("2406.11617")
def della(
    density: PerSpecialist, epsilon: PerSpecialist, normalize: bool, rescale: Rescale, lambda_: float, seed: int
) -> Rule:
    """Drop at random, small updates more often; elect signs."""
    return TaskVectors(
        sparsities("magprune", density=density, epsilon=epsilon, rescale=rescale, seed=seed), True, normalize, lambda_
    )


@method("2406.11617")
def della_linear(
    density: PerSpecialist, epsilon: PerSpecialist, normalize: bool, rescale: Rescale, lambda_: float, seed: int
) -> Rule:
    """Drop at random, small updates more often; sum."""
    return TaskVectors(
        sparsities("magprune", density=density, epsilon=epsilon, rescale=rescale, seed=seed), False, normalize, lambda_
    )


@method("2312.06795")
def breadcrumbs(
    density: PerSpecialist, gamma: PerSpecialist, normalize: bool, rescale: Rescale, lambda_: float
) -> Rule:
    """Drop the smallest and the very largest; sum."""
    return TaskVectors(sparsities("outliers", density=density, gamma=gamma, rescale=rescale), False, normalize, lambda_)


@method("2312.06795")
def breadcrumbs_ties(
    density: PerSpecialist, gamma: PerSpecialist, normalize: bool, rescale: Rescale, lambda_: float
) -> Rule:
    """Drop the smallest and the very largest; elect signs."""
    return TaskVectors(sparsities("outliers", density=density, gamma=gamma, rescale=rescale), True, normalize, lambda_)


@method(None)
def slerp(space: Space, by_row: bool) -> Rule:
    """Spherical interpolation of two specialists, linear where they are nearly parallel."""
    return Slerp(space, by_row, parallel=0.9995)


@method(None)
def nuslerp(space: Space, by_row: bool) -> Rule:
    """Spherical interpolation of two specialists down to the smallest angles, as in mergekit."""
    return Slerp(space, by_row, parallel=1 - 1e-16)


@method("2603.04972")
def karcher(space: Space, max_iter: int, tolerance: float) -> Rule:
    """Riemannian mean of the directions, at the mean norm."""
    return Karcher(space, max_iter, tolerance)


@method(None)
def multislerp(space: Space, normalize: bool) -> Rule:
    """Mean direction of any number of specialists, at their mean norm (mergekit's `multislerp`)."""
    return MultiSlerp(space, normalize)


@method("2403.19522", weighted=False)
def model_stock(by_row: bool) -> Rule:
    """Interpolate between base and mean by the angle between the task vectors."""
    return ModelStock(by_row)


@method("2408.07990", weighted=False)
def sce(select: float, equal_below: float) -> Rule:
    """Select by variance, weigh by energy, erase minority signs."""
    return Sce(select, equal_below)


@method("2405.07813")
def consensus(threshold: float, agree: int, lambda_: float) -> Rule:
    """Task arithmetic where enough tasks need the weight (TALL masks)."""
    return ConsensusMasks(threshold, agree, lambda_)


@method("2410.02396")
def pcb(density: float, lambda_: float) -> Rule:
    """A coefficient for every parameter of every task, balanced within and between tasks (PCB-Merging)."""
    return Pcb(density, lambda_)


@method("2412.00081")
def tsv(lambda_: float) -> Rule:
    """Orthogonalized leading singular vectors of every task (TSV-Merge)."""
    return Spectral("tsv", lambda_)


@method("2502.04959")
def iso_c(lambda_: float) -> Rule:
    """Sum of the task vectors with a flat spectrum (Iso-C)."""
    return Spectral("iso", lambda_)


@method("2502.04959")
def iso_cts(common: float, lambda_: float) -> Rule:
    """Common and task-specific directions of the task vectors with a flat spectrum (Iso-CTS)."""
    return Spectral("iso_cts", lambda_, common)


@method("2503.08099")
def wudi(iterations: int | None, step_size: float, lambda_: float) -> Rule:
    """The update of every layer that disturbs each task least on its own inputs (WUDI-Merging)."""
    return Wudi(iterations, step_size, lambda_)


@method("2410.19735")
def knots(inner: Inner, density: float, normalize: bool, rescale: Rescale, lambda_: float, seed: int) -> Rule:
    """Align LoRA updates in one singular basis, then merge them there (KnOTS)."""
    return Knots(inner, density, normalize, rescale, lambda_, seed)


@method("2111.09832")
def fisher(statistics: Mapping[str, str] | None, equalize: bool) -> Rule:
    """Weighted mean by the diagonal Fisher information of every task."""
    return Fisher(Statistics("fisher", statistics), equalize)


@method("2212.09849")
def regmean(statistics: Mapping[str, str] | None, alpha: float) -> Rule:
    """Least-squares fit of all specialists' linear layers on their own inputs."""
    return RegMean(Statistics("regmean", statistics), alpha)


@method(None)
def adaptive(sharpness: float, lambda_: float) -> Rule:
    """Coefficients per tensor from the parents' weights alone; `weight` says how much each task counts."""
    return Adaptive(sharpness, lambda_)


@method(None)
def mergekit(name: str, parameters: Mapping[str, Any] | None, seed: int) -> Rule:
    """Any method of the installed mergekit."""
    return Mergekit(name, {} if parameters is None else parameters, seed)


def recipe_from(description: Mapping[str, Any]) -> Recipe:
    """Rebuild the recipe that `Recipe.describe` recorded, also for a method outside this package.

    Args:
        description: `_target_`, the import path of the method, and its keys.

    Raises:
        UserError: The method cannot be imported, or its keys have changed.
    """
    keys = dict(description)
    found = _method_at(str(keys.pop("_target_", None)))
    if "weights" in found.keys:
        keys["weight"] = None
    else:
        keys.pop("weights", None)
    return found(**keys)


def _method_at(target: str) -> Method:
    require_trusted(target, "_target_")
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"cannot import the merge method {target!r} of this recipe: {error}; "
            "a method outside of src must be importable, e.g. PYTHONPATH=DIR"
        ) from error
    if not isinstance(found, Method):
        raise UserError(f"{target} is not a merge method: decorate its function with src.merging.registry.method")
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if varies(value) else value


def _list(label: str, names: list[str]) -> str:
    return f"{label} {', '.join(names)}; " if names else ""
