"""Recipe of a merge as data: rule, coefficients and output, checked before anything is read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Annotated, Any, Literal

import torch
from pydantic import AfterValidator

from src.merging.methods.rule import Rule
from src.utils.errors import UserError
from src.utils.validation import checked_dataclass

OUTPUT_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
ZERO_SUM = 1e-6  # of the sum of their sizes: coefficients that cancel up to rounding
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

    Args:
        target: Import path of the method, the `_target_` of its YAML.
        rule: Mathematics of the method.
        settings: The method's own keys, as in its YAML.
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
    rule: Rule
    settings: tuple[tuple[str, Any], ...] = ()
    weight: float | None = None
    weights: Mapping[str, float] | None = field(default=None, hash=False)
    match_norm: bool = False
    exclude: Annotated[str, AfterValidator(_regular_expression)] | None = None
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    tokenizer: Literal["equal", "shared", "base", "union"] = "equal"
    template: str | None = None
    generation_config: str | None = None
    engine: Literal["own", "mergekit"] = "own"

    @property
    def method(self) -> str:
        """Name of the method: the last part of its import path."""
        return self.target.rpartition(".")[2]

    def coefficients(self, specialists: Sequence[str]) -> dict[str, float]:
        """Coefficient of every specialist, in their order.

        Raises:
            UserError: They do not fit the specialists, or the method divides by their sum, which is zero.
        """
        found = coefficients(self.weight, self.weights, specialists)
        size = sum(abs(coefficient) for coefficient in found.values())
        if getattr(self.rule, "normalize", False) and abs(sum(found.values())) <= ZERO_SUM * size:
            raise UserError(
                f"merge={self.method} divides by the sum of the coefficients, which is zero: "
                f"{', '.join(f'{name} {value:g}' for name, value in found.items())}; change merge.weight or "
                "merge.weights, or set merge.normalize=false where the method has it"
            )
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
        return {"_target_": self.target, "weights": self.coefficients(specialists)} | dict(self.settings) | common


def coefficients(
    weight: float | None, weights: Mapping[str, float] | None, specialists: Sequence[str]
) -> dict[str, float]:
    """Resolve `merge.weight` or `merge.weights` to one coefficient per specialist.

    Args:
        weight: Coefficient of the first specialist; the others share 1 - weight equally. None: all are equal.
        weights: Coefficient of every specialist by name; takes precedence over `weight`.
        specialists: Names in their order.

    Returns:
        Name -> coefficient, in the order of `specialists`.

    Raises:
        UserError: `weights` does not name exactly the specialists.

    Example:
        >>> coefficients(0.4, None, ["codegen", "codesum", "bugfix"])
        {'codegen': 0.4, 'codesum': 0.3, 'bugfix': 0.3}
    """
    if weights is not None:
        named = dict(weights)
        wrong = sorted(set(named) ^ set(specialists))
        if wrong:
            raise UserError(
                f"merge.weights names {', '.join(named) or 'nothing'}; expected {', '.join(specialists)} "
                f"(differs in {', '.join(wrong)})"
            )
        return {name: float(named[name]) for name in specialists}
    count = len(specialists)
    if weight is None:
        return dict.fromkeys(specialists, 1.0 / count)
    rest = (1.0 - weight) / (count - 1) if count > 1 else 0.0
    return {name: float(weight) if index == 0 else rest for index, name in enumerate(specialists)}
