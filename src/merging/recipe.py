"""Recipe of a merge as data: rule, coefficients and output, checked before anything is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Annotated, Any, Literal

import torch
from pydantic import AfterValidator

from src.merging.methods.rule import Rule
from src.merging.schedule import Schedule, check_value, mean_of, numbers_in, per_specialist
from src.utils.errors import UserError
from src.utils.validation import checked_dataclass

OUTPUT_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
ZERO_SUM = 1e-6  # of the sum of their sizes: coefficients that cancel up to rounding
Number = Any
"""A number of a recipe: one, or one per tensor as in `schedule`."""
COMMON = (
    "match_norm",
    "exclude",
    "dtype",
    "tokenizer",
    "template",
    "generation_config",
    "engine",
)  # keys of every method


def _regular_expression(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise UserError(f"merge.exclude must be a regular expression, got {pattern!r}: {error}") from error
    return pattern


@checked_dataclass("merge")
class Recipe:
    """A merge: method, coefficients and output.

    Coefficients and settings may differ between tensors: `ResolvedRecipe` knows the rule and the coefficients of each.

    Args:
        target: Import path of the method, the `_target_` of its YAML.
        build: Builds the mathematics of the method from its settings, each of them a number or other constant, or a
            tuple of numbers, one per specialist.
        settings: The method's own keys, as in its YAML.
        varying: Those of them that differ between tensors or specialists; true: also between specialists.
        weight: Coefficient of the first specialist; the others share 1 - weight.
        weights: Coefficients by specialist; takes precedence over `weight`.
        match_norm: Scale every tensor's merged delta to the weighted mean norm of its parents' deltas.
        exclude: Regular expression; tensors with a matching name keep the base's values.
        dtype: Dtype of the merged weights; None keeps the base's.
        tokenizer: Alignment of vocabularies, see `align_vocabulary`.
        template: `base`, a specialist, a file or the text of a template: the source of the chat template and special
            tokens; None: the specialists', which must agree.
        generation_config: The same for `generation_config.json`.
        engine: `own`, or `mergekit` to run the same merge in the reference implementation.

    Raises:
        UserError: A coefficient is not a finite number, or a choice is unknown.
    """

    target: str
    build: Callable[[Mapping[str, Any]], Rule]
    settings: tuple[tuple[str, Any], ...] = ()
    varying: Mapping[str, bool] = field(default_factory=dict, hash=False)
    weight: Number = field(default=None, hash=False)
    weights: Mapping[str, Number] | None = field(default=None, hash=False)
    match_norm: bool = False
    exclude: Annotated[str, AfterValidator(_regular_expression)] | None = None
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    tokenizer: Literal["equal", "shared", "base", "union"] = "equal"
    template: str | None = None
    generation_config: str | None = None
    engine: Literal["own", "mergekit"] = "own"

    def __post_init__(self) -> None:
        if self.weight is not None:
            check_value("merge.weight", self.weight, by_specialist=False)
        for name, value in (self.weights or {}).items():
            check_value(f"merge.weights.{name}", value, by_specialist=False)
        for key, by_specialist in self.varying.items():
            check_value(f"merge.{key}", dict(self.settings)[key], by_specialist)

    @property
    def method(self) -> str:
        """Name of the method: the last part of its import path."""
        return self.target.rpartition(".")[2]

    @property
    def rule(self) -> Rule:
        """Mathematics of the method; where settings differ between tensors, with the means of their values.

        Raises:
            UserError: A setting is out of its range.
        """
        given = dict(self.settings)
        return self.build({**given, **{key: mean_of(given[key]) for key in self.varying}})

    def check_settings(self) -> None:
        """Require settings in their ranges, as far as can be told before the tensors are known.

        Where several settings vary, some of their values may never meet; `ResolvedRecipe` checks those that do.

        Raises:
            UserError: A setting is out of its range.
        """
        given = dict(self.settings)
        if not self.varying:
            self.build(given)
        elif len(self.varying) == 1:
            [key] = self.varying
            for number in numbers_in(given[key]):
                self.build({**given, key: number})

    def coefficients(self, specialists: Sequence[str]) -> dict[str, Number]:
        """Coefficient of every specialist, in their order: a number, or the `plain` value of a schedule.

        Raises:
            UserError: They do not fit the specialists, or the method divides by their sum, which is zero.
        """
        found = coefficients(self.weight, self.weights, specialists)
        if not self.varying and all(isinstance(value, float) for value in found.values()):
            check_sum(self.method, self.rule, found)
        return found

    def coefficient_schedules(self, specialists: Sequence[str]) -> dict[str, Schedule]:
        """The same, as schedules."""
        return {name: Schedule.of(f"merge.weights.{name}", one) for name, one in self.coefficients(specialists).items()}

    def schedules(self, specialists: Sequence[str]) -> dict[str, Schedule | dict[str, Schedule]]:
        """Every setting that differs between tensors, or between specialists.

        Raises:
            UserError: A setting names some of the specialists.
        """
        given = dict(self.settings)
        found: dict[str, Schedule | dict[str, Schedule]] = {}
        for key, by_specialist in self.varying.items():
            apart = per_specialist(f"merge.{key}", given[key], specialists) if by_specialist else None
            found[key] = Schedule.of(f"merge.{key}", given[key]) if apart is None else apart
        return found

    def output_dtype(self, stored: torch.dtype) -> torch.dtype:
        """Dtype in which a tensor stored as `stored` is written."""
        return OUTPUT_DTYPES[self.dtype] if self.dtype and stored.is_floating_point else stored

    def excludes(self, name: str) -> bool:
        """True if tensor `name` keeps the base's values."""
        return self.exclude is not None and re.search(self.exclude, name) is not None

    def describe(self, specialists: Sequence[str]) -> dict[str, Any]:
        """The recipe as JSON for a run record: method, its keys and all coefficients.

        `registry.recipe_from` rebuilds the recipe from it.
        """
        common = {key: getattr(self, key) for key in COMMON}
        varying = {key: _described(one) for key, one in self.schedules(specialists).items()}
        weights = self.coefficients(specialists)
        return {"_target_": self.target, "weights": weights} | dict(self.settings) | varying | common


def _described(found: Schedule | dict[str, Schedule]) -> Any:
    return found.plain if isinstance(found, Schedule) else {name: one.plain for name, one in found.items()}


def check_sum(method: str, rule: Rule, found: Mapping[str, float], place: str = "") -> None:
    """Refuse coefficients that cancel where the method divides by their sum.

    Args:
        method: Its name, for the message.
        rule: Its mathematics.
        found: Coefficient of every specialist.
        place: ` in TENSOR`, if they differ between tensors.

    Raises:
        UserError: They cancel.
    """
    size = sum(abs(coefficient) for coefficient in found.values())
    if getattr(rule, "normalize", False) and abs(sum(found.values())) <= ZERO_SUM * size:
        raise UserError(
            f"merge={method} divides by the sum of the coefficients, which is zero{place}: "
            f"{', '.join(f'{name} {value:g}' for name, value in found.items())}; change merge.weight or "
            "merge.weights, or set merge.normalize=false where the method has it"
        )


def coefficients(weight: Number, weights: Mapping[str, Number] | None, specialists: Sequence[str]) -> dict[str, Number]:
    """Resolve `merge.weight` or `merge.weights` to one coefficient per specialist.

    Args:
        weight: Coefficient of the first specialist; the others share 1 - weight equally. None: all are equal.
        weights: Coefficient of every specialist by name; takes precedence over `weight`.
        specialists: Names in their order.

    Returns:
        Name -> coefficient (a number, or the `plain` value of a schedule), in the order of `specialists`.

    Raises:
        UserError: `weights` does not name exactly the specialists.

    Example:
        >>> coefficients(0.4, None, ["codegen", "codesum", "bugfix"])
        {'codegen': 0.4, 'codesum': 0.3, 'bugfix': 0.3}
        >>> coefficients([0.2, 0.8], None, ["codegen", "codesum"])
        {'codegen': [0.2, 0.8], 'codesum': [0.8, 0.19999999999999996]}
    """
    if weights is not None:
        named = dict(weights)
        wrong = sorted(set(named) ^ set(specialists))
        if wrong:
            raise UserError(
                f"merge.weights names {', '.join(named) or 'nothing'}; expected {', '.join(specialists)} "
                f"(differs in {', '.join(wrong)})"
            )
        return {name: Schedule.of(f"merge.weights.{name}", named[name]).plain for name in specialists}
    count = len(specialists)
    if weight is None:
        return dict.fromkeys(specialists, 1.0 / count)
    first = Schedule.of("merge.weight", weight)
    rest = first.map(lambda value: (1.0 - value) / (count - 1)) if count > 1 else first
    return {name: (rest if index else first).plain for index, name in enumerate(specialists)}
