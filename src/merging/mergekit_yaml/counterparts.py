"""Merge methods of mergekit that are ours too: names, parameters and defaults on both sides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from src.merging.mergekit_yaml.settings import Convert, Scalar, integer, number, truth


@dataclass(frozen=True)
class Parameter:
    """A parameter of a mergekit method.

    Args:
        ours: Our key of the same meaning, `parameters.KEY` for one inside of `merge.parameters`; None: it has no effect
            on the result.
        convert: Its type.
        default: mergekit's; None: it must be given.
        per_model: Each model may have its own.
        only: The one value that we have, if it has no key of ours.
    """

    ours: str | None
    convert: Convert
    default: Scalar | None = None
    per_model: bool = False
    only: Scalar | None = None


@dataclass(frozen=True)
class Counterpart:
    """A mergekit method and ours.

    Args:
        theirs: `merge_method` of a YAML.
        ours: Choice of conf/merge.
        parameters: By mergekit's name.
        base: `required`; `optional`: the origin of the task vectors if given; `input`: one more model to merge;
            `first`: the first of two models.
        fixed: Our keys that mergekit lacks, with the values that make both equal.
        models: Least and greatest number of models besides the base, or of all where the base is one of them.
    """

    theirs: str
    ours: str
    parameters: Mapping[str, Parameter]
    base: Literal["required", "optional", "input", "first"] = "required"
    fixed: Mapping[str, object] = field(default_factory=dict)
    models: tuple[int, int | None] = (1, None)


NESTED = "parameters."  # keys of merge=mergekit that it passes on
PAIR = (2, 2)  # models of a method for two
WEIGHT = {"weight": Parameter("weights", number, per_model=True)}
DENSITY = {"density": Parameter("density", number, 1.0, per_model=True)}
INT8_MASK = {"int8_mask": Parameter(None, truth, False)}
LAMBDA = {"lambda": Parameter("lambda", number, 1.0)}
EPSILON = {"epsilon": Parameter("epsilon", number, 0.15, per_model=True)}
GAMMA = {"gamma": Parameter("gamma", number, 0.01, per_model=True)}
TRIM = {"trim": "tensor"}


def _sparse(normalize: bool, rescale: bool, more: Mapping[str, Parameter] | None = None) -> dict[str, Parameter]:
    switches = {
        "normalize": Parameter("normalize", truth, normalize),
        "rescale": Parameter("rescale", truth, rescale),
    }
    return {**WEIGHT, **DENSITY, **(more or {}), **switches, **LAMBDA, **INT8_MASK}


def _without_effect(name: str, parameters: dict[str, Parameter]) -> dict[str, Parameter]:
    one = parameters[name]
    return parameters | {name: Parameter(None, one.convert, one.default, one.per_model)}


_ALL = (
    Counterpart("linear", "linear", {**WEIGHT, "normalize": Parameter("normalize", truth, True)}, base="input"),
    Counterpart(
        "task_arithmetic",
        "task_arithmetic",
        _without_effect("rescale", _without_effect("density", _sparse(normalize=False, rescale=False))),
    ),
    Counterpart("ties", "ties", _sparse(normalize=True, rescale=False), fixed=TRIM),
    Counterpart("dare_linear", "dare", _sparse(normalize=False, rescale=True)),
    Counterpart("dare_ties", "dare_ties", _sparse(normalize=False, rescale=True)),
    Counterpart("della", "della", _sparse(normalize=True, rescale=True, more=EPSILON)),
    Counterpart("della_linear", "della_linear", _sparse(normalize=False, rescale=True, more=EPSILON)),
    Counterpart("breadcrumbs", "breadcrumbs", _sparse(normalize=False, rescale=False, more=GAMMA)),
    Counterpart("breadcrumbs_ties", "breadcrumbs_ties", _sparse(normalize=False, rescale=False, more=GAMMA)),
    Counterpart(
        "slerp",
        "slerp",
        {"t": Parameter("weights", number)},
        base="first",
        fixed={"space": "weights", "by_row": False},
        models=PAIR,
    ),
    Counterpart(
        "nuslerp",
        "nuslerp",
        {
            **WEIGHT,
            "nuslerp_flatten": Parameter("by_row", truth, True),
            "nuslerp_row_wise": Parameter(None, truth, False, only=False),
        },
        base="optional",
        models=PAIR,
    ),
    Counterpart(
        "multislerp",
        "multislerp",
        {
            **WEIGHT,
            "normalize_weights": Parameter("normalize", truth, True),
            "eps": Parameter(None, number, 1e-8, only=1e-8),
        },
        base="optional",
    ),
    Counterpart(
        "karcher",
        "karcher",
        {"max_iter": Parameter("max_iter", integer, 10), "tol": Parameter("tolerance", number, 1e-5)},
        base="input",
        fixed={"space": "weights", "weight": None},
    ),
    Counterpart("model_stock", "model_stock", {"filter_wise": Parameter("by_row", truth, False)}, models=(2, None)),
    Counterpart(
        "sce", "sce", {**INT8_MASK, "select_topk": Parameter("select", number, 1.0)}, fixed={"equal_below": 1e-6}
    ),
)


def _only_theirs(
    name: str, parameters: Mapping[str, float | None], models: tuple[int, int | None] = (1, None)
) -> Counterpart:
    """A method that `merge=mergekit` runs in the installed mergekit; its parameters are numbers with defaults."""
    own = {key: Parameter(f"{NESTED}{key}", number, default) for key, default in parameters.items()}
    base: Literal["first", "required"] = "first" if models == PAIR else "required"
    return Counterpart(name, "mergekit", own, base, {"name": name, "weight": None}, models)


_BY_MERGEKIT = (
    _only_theirs("nearswap", {"t": None}, PAIR),
    _only_theirs("arcee_fusion", {}, PAIR),
    _only_theirs("ram", {"epsilon": 1e-5}),
    _only_theirs("ramplus_tl", {"r": 0.1, "alpha": 0.2, "epsilon": 1e-5}),
)
BY_MERGEKIT_NAME = {one.theirs: one for one in (*_ALL, *_BY_MERGEKIT)}
BY_OUR_NAME = {one.ours: one for one in _ALL}
