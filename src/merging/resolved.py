"""A recipe over the tensors of one model: the rule and the coefficients of each.

Tensors with equal settings share a rule object, and the points of a grid share the work of equal settings.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from src.merging.methods.rule import Rule, WholeModelRule
from src.merging.recipe import Recipe, check_sum
from src.merging.schedule import Schedule, depths
from src.merging.tensors.parent_model import ParentModel

Values = tuple[float | tuple[float, ...], ...]
"""A tensor's value of every setting that varies: a number, or one per specialist."""


@dataclass(frozen=True)
class TensorRecipe:
    """Settings and coefficients of one tensor.

    Args:
        values: Settings that vary; key of its rule.
        coefficients: K numbers.
    """

    values: Values
    coefficients: tuple[float, ...]


class ResolvedRecipe:
    """Rule and coefficients of every tensor.

    Args:
        recipe: May differ between tensors.
        specialists: K names, in the order of the coefficients.
        names: All tensors of the model, which decide the depth of each.
        merged: Those that the method merges.

    Raises:
        UserError: A value is out of its range, a pattern decides for no tensor, a tensor has no pattern, or the
            method divides by coefficients that cancel.
    """

    def __init__(
        self, recipe: Recipe, specialists: Sequence[str], names: Sequence[str], merged: Collection[str]
    ) -> None:
        self._recipe = recipe
        self._specialists = tuple(specialists)
        self._settings = {
            key: tuple(one.values()) if isinstance(one, dict) else one
            for key, one in recipe.schedules(specialists).items()
        }
        self._coefficients = tuple(recipe.coefficient_schedules(specialists).values())
        self._rules: dict[Values, Rule] = {}
        self._tensors: dict[str, TensorRecipe] = {}
        self._everywhere: TensorRecipe | None = None
        schedules = self._all_schedules()
        if all(one.constant is not None for one in schedules):
            self._everywhere = self._resolve("", 0.0)
        else:
            for one in schedules:
                one.check_patterns(merged)
            places = depths(names)
            self._tensors = {name: self._resolve(name, places[name]) for name in merged}
        self._build_rules()

    def rule_for(self, name: str) -> Rule:
        """The mathematics of one tensor."""
        return self._rules[self._of(name).values]

    def coefficients_for(self, name: str) -> tuple[float, ...]:
        """The K coefficients of one tensor."""
        return self._of(name).coefficients

    @property
    def returns_weights(self) -> bool:
        """See `Rule`; the same for all tensors."""
        return any(rule.returns_weights for rule in self._rules.values())

    @property
    def needs_model(self) -> bool:
        """True if `ask` and `look_at` have to be called before any tensor is merged."""
        return any(self._of_whole_model())

    def ask(self, model: ParentModel) -> None:
        """See `WholeModelRule.ask`."""
        for _, rule in self._of_whole_model():
            rule.ask(model)

    def look_at(self, model: ParentModel) -> None:
        """Show the rules all tensors that are merged.

        Raises:
            UserError: The method does not take this model.
        """
        self._rules |= {values: rule.over(model) for values, rule in self._of_whole_model()}

    def _of_whole_model(self) -> Iterator[tuple[Values, WholeModelRule]]:
        for values, rule in self._rules.items():
            if isinstance(rule, WholeModelRule) and rule.needs_model:
                yield values, rule

    def _all_schedules(self) -> list[Schedule]:
        found = list(self._coefficients)
        for one in self._settings.values():
            found += [one] if isinstance(one, Schedule) else one
        return found

    def _of(self, name: str) -> TensorRecipe:
        return self._everywhere or self._tensors[name]

    def _resolve(self, name: str, depth: float) -> TensorRecipe:
        values = tuple(
            one.at(name, depth) if isinstance(one, Schedule) else tuple(each.at(name, depth) for each in one)
            for one in self._settings.values()
        )
        return TensorRecipe(values, tuple(one.at(name, depth) for one in self._coefficients))

    def _build_rules(self) -> None:
        """Build a rule for every combination of settings, and check the coefficients of every tensor with it."""
        first = {one: name for name, one in reversed(self._tensors.items())}
        for one in first if self._everywhere is None else [self._everywhere]:
            if one.values not in self._rules:
                varying = dict(zip(self._settings, one.values, strict=True))
                self._rules[one.values] = self._recipe.build({**dict(self._recipe.settings), **varying})
            found = dict(zip(self._specialists, one.coefficients, strict=True))
            check_sum(self._recipe.method, self._rules[one.values], found, f" in {first[one]}" if first else "")
