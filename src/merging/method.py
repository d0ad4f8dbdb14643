"""Builders called with the keys of their YAML, no more and no fewer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, cast

from src.merging.methods.mergekit import as_mergekit
from src.merging.methods.rule import Rule
from src.merging.recipe import COMMON, Recipe
from src.utils.errors import UserError

WEIGHTS = ("weight", "weights")


class Method:
    """A merge method: a function that makes its rule, called with all the keys of its YAML.

    The keys are the function's arguments (`lambda_` is the key `lambda`, which Python reserves) and those that every
    method has. Calling it returns a `Recipe`.

    Args:
        build: Makes the rule from the method's own keys.
        arxiv: Identifier of the paper, or None.
        weighted: Whether the method takes coefficients.

    Raises:
        UserError: On a call with an unknown or a missing key.
    """

    def __init__(self, build: Callable[..., Rule], arxiv: str | None, weighted: bool) -> None:
        self.name = build.__name__
        self.arxiv = arxiv
        self.__doc__ = build.__doc__
        self._build = build
        own = {argument.removesuffix("_"): argument for argument in inspect.signature(build).parameters}
        self._own = own
        self.keys = (*(WEIGHTS if weighted else ()), *own, *COMMON)

    def __call__(self, **keys: Any) -> Recipe:
        unknown = sorted(set(keys) - set(self.keys))
        missing = sorted(set(self.keys) - set(keys))
        if unknown or missing:
            raise UserError(
                f"merge={self.name}: {_list('unknown keys', unknown)}{_list('missing keys', missing)}"
                f"it takes {', '.join(self.keys)}"
            )
        settings = {key: _plain(keys[key]) for key in self._own}
        rule = self._build(**{argument: settings[key] for key, argument in self._own.items()})
        if keys["engine"] == "mergekit":
            rule = as_mergekit(self.name, settings)
        weights = keys.get("weights")
        return Recipe(
            method=self.name,
            rule=rule,
            settings=tuple(settings.items()),
            weight=keys.get("weight"),
            weights=None if weights is None else _pairs(weights),
            **{key: keys[key] for key in COMMON},
        )


def method(arxiv: str | None, weighted: bool = True) -> Callable[[Callable[..., Rule]], Method]:
    """Decorate the function that makes a method's rule.

    Args:
        arxiv: Identifier of the paper, or None.
        weighted: Whether the method takes coefficients.
    """
    return lambda build: Method(build, arxiv, weighted)


def _pairs(weights: object) -> tuple[tuple[str, float], ...]:
    if not isinstance(weights, Mapping):
        raise UserError(f"merge.weights must map specialists to numbers, as in {{codegen: 0.3}}, got {weights!r}")
    return tuple((str(name), cast(float, value)) for name, value in weights.items())


def _plain(value: Any) -> Any:
    return {str(key): _plain(entry) for key, entry in value.items()} if isinstance(value, Mapping) else value


def _list(label: str, names: list[str]) -> str:
    return f"{label} {', '.join(names)}; " if names else ""
