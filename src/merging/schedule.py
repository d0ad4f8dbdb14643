"""Numbers that differ between the tensors of a model.

A number of a merge method is one of

    0.5                                          the same everywhere
    [0.2, 0.5, 0.8]                              piecewise linear from the first layer to the last, as in mergekit
    {self_attn: 0.3, default: [0.2, 0.8]}        of the first regular expression that matches the tensor's name
    [{self_attn: 0.3}, {default: [0.2, 0.8]}]    the same; records have this form, because JSON sorts the keys of {...}

Along the depth, layer i of n is at i / (n - 1), a single layer at 1. Every stack of layers (an encoder, a decoder) has
its own depth. Tensors outside of layers are at 0, the head and the last norm too, as in mergekit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from src.checkpoints.layers import locate
from src.utils.errors import UserError, first_differences
from src.utils.files import sha256_json

DEFAULT = "default"
LONGEST_WORD = 20


@dataclass(frozen=True)
class Schedule:
    """One number per tensor.

    Args:
        key: Config key, for messages.
        parts: Regular expression and values along the depth, the first match decides; `default` matches the rest.

    Raises:
        UserError: On `of` and `at`, see there.
    """

    key: str = field(compare=False)
    parts: tuple[tuple[str, tuple[float, ...]], ...]

    @classmethod
    def of(cls, key: str, value: Any) -> Schedule:
        """Parse the value of a config key.

        Raises:
            UserError: A value is not a finite number, a list is empty, or a pattern is not a regular expression.

        Example:
            >>> Schedule.of("merge.density", {"mlp": 0.3, "default": [0.2, 0.8]}).at("model.norm.weight", 0.0)
            0.2
        """
        named = _pairs(key, value)
        if named is None:
            return cls(key, ((DEFAULT, _along_depth(key, value)),))
        patterns = [pattern for pattern, _ in named]
        if doubled := sorted({pattern for pattern in patterns if patterns.count(pattern) > 1}):
            raise UserError(f"{key} has {', '.join(doubled)} twice; expected every pattern once")
        parts = [(_regular(key, pattern), _along_depth(f"{key}.{pattern}", one)) for pattern, one in named]
        return cls(key, tuple(sorted(parts, key=lambda part: part[0] == DEFAULT)))

    @property
    def constant(self) -> float | None:
        """The number, if it is the same everywhere."""
        [(pattern, values), *more] = self.parts
        return values[0] if pattern == DEFAULT and len(values) == 1 and not more else None

    @property
    def plain(self) -> float | list[Any]:
        """The value as JSON; `of` rebuilds the schedule from it."""
        values = [(pattern, _plain(values)) for pattern, values in self.parts]
        if len(values) == 1 and values[0][0] == DEFAULT:
            return values[0][1]
        return [{pattern: value} for pattern, value in values]

    @property
    def word(self) -> str:
        """A short word for the name of a run: the number, or the values along the depth, or a hash."""
        found = self.plain
        readable = [found] if isinstance(found, float) else found
        if all(isinstance(value, float) for value in readable):
            text = "_".join(f"{value:g}" for value in readable)
            if len(text) <= LONGEST_WORD:
                return text
        return f"v{sha256_json(found)[:6]}"

    def map(self, function: Callable[[float], float]) -> Schedule:
        """The schedule of `function` of the number; `function` is linear, so that it commutes with interpolation."""
        return Schedule(self.key, tuple((pattern, tuple(map(function, values))) for pattern, values in self.parts))

    def at(self, name: str, depth: float) -> float:
        """The number of one tensor.

        Args:
            name: Of the tensor.
            depth: In [0, 1], see `depths`.

        Raises:
            UserError: No pattern matches, and there is no `default`.
        """
        pattern = self._pattern(name)
        if pattern is None:
            raise UserError(f"{self.key} has no pattern for {name}; add one that matches it, or {DEFAULT}")
        return interpolate(dict(self.parts)[pattern], depth)

    def check_patterns(self, names: Collection[str]) -> None:
        """Require that every pattern decides for some tensor.

        Args:
            names: Tensors that are merged.

        Raises:
            UserError: A pattern matches none, or only those that an earlier one matches; or a tensor matches none.
        """
        found = {name: self._pattern(name) for name in names}
        if lacking := [name for name, pattern in found.items() if pattern is None]:
            message = f"{self.key} has no pattern for {len(lacking)} tensors (add {DEFAULT} for the rest)"
            raise UserError(first_differences(message, lacking))
        for pattern, _ in self.parts:
            if pattern != DEFAULT and pattern not in found.values():
                matched = any(re.search(pattern, name) for name in names)
                why = "only tensors that an earlier pattern takes" if matched else "no merged tensor"
                raise UserError(f"{self.key}: {pattern!r} matches {why}; expected names such as {_some(names)}")

    def _pattern(self, name: str) -> str | None:
        return next((one for one, _ in self.parts if one == DEFAULT or re.search(one, name)), None)


def varies(value: Any) -> bool:
    """True for the value of a key that is more than a number."""
    return isinstance(value, (Mapping, Sequence)) and not isinstance(value, str)


def mean_of(value: Any) -> float:
    """Mean of all numbers in a value: some number between them, where one is needed for the whole model."""
    found = numbers_in(value)
    return math.fsum(found) / len(found)


def numbers_in(value: Any) -> list[float]:
    """All numbers in a value, in their order."""
    if not varies(value):
        return [float(value)]
    inside = value.values() if isinstance(value, Mapping) else value
    return [number for one in inside for number in numbers_in(one)]


def per_specialist(key: str, value: Any, specialists: Sequence[str]) -> dict[str, Schedule] | None:
    """Parse `{codegen: 0.3, codesum: 0.5}`, each of which may be a schedule; `default` is for the other specialists.

    Args:
        key: Config key.
        value: Its value.
        specialists: Names in their order.

    Returns:
        Schedule of every specialist, in their order; None if no key is the name of a specialist.

    Raises:
        UserError: A specialist is not named, or something else is named beside one.
    """
    if not isinstance(value, Mapping) or not set(value) & set(specialists):
        return None
    wrong = sorted(set(value) - set(specialists) - {DEFAULT})
    lacking = [] if DEFAULT in value else sorted(set(specialists) - set(value))
    if wrong or lacking:
        raise UserError(
            f"{key} names {', '.join(value)}; expected every specialist ({', '.join(specialists)}) or {DEFAULT}, or "
            "regular expressions that are not names of specialists"
        )
    return {name: Schedule.of(f"{key}.{name}", value.get(name, value.get(DEFAULT))) for name in specialists}


def check_value(key: str, value: Any, by_specialist: bool) -> None:
    """Check a value while the specialists are not known.

    Args:
        key: Config key.
        value: Its value.
        by_specialist: Whether the key may be a mapping by specialist.

    Raises:
        UserError: See `Schedule.of`.
    """
    if by_specialist and isinstance(value, Mapping):
        for name, one in value.items():
            Schedule.of(f"{key}.{name}", one)
    else:
        Schedule.of(key, value)


def depths(names: Iterable[str]) -> dict[str, float]:
    """Position of each tensor between the first layer (0) and the last (1); 0 outside of layers."""
    places = {name: locate(name) for name in names}
    stacks = {name: place.layer.rpartition(".")[0] for name, place in places.items() if place.block is not None}
    last: dict[str, int] = {}
    for name, stack in stacks.items():
        last[stack] = max(last.get(stack, 0), places[name].block or 0)
    return {
        name: 0.0 if name not in stacks else (place.block or 0) / last[stacks[name]] if last[stacks[name]] else 1.0
        for name, place in places.items()
    }


def interpolate(values: Sequence[float], depth: float) -> float:
    """The value at a depth in [0, 1] of values that are spread evenly over it, linear between them."""
    place = depth * (len(values) - 1)
    before = int(place)
    after = min(before + 1, len(values) - 1)
    share = place - before
    return (1 - share) * values[before] + share * values[after]


def _pairs(key: str, value: Any) -> list[tuple[str, Any]] | None:
    """Patterns and their values, of either form; None if the value has no patterns."""
    if isinstance(value, Mapping):
        pairs = [(str(pattern), one) for pattern, one in value.items()]
    elif varies(value) and value and all(isinstance(one, Mapping) for one in value):
        pairs = [(str(pattern), entry) for one in value for pattern, entry in one.items()]
    else:
        return None
    if not pairs:
        raise UserError(f"{key} is empty; expected patterns with numbers, as in {{mlp: 0.3, {DEFAULT}: 0.5}}")
    return pairs


def _along_depth(key: str, value: Any) -> tuple[float, ...]:
    if not varies(value):
        return (_number(key, value),)
    if isinstance(value, Mapping) or not value:
        raise UserError(f"{key} must be a number, or a list of numbers from the first layer to the last, got {value!r}")
    return tuple(_number(key, one) for one in value)


def _number(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UserError(f"{key} must be a number, got {value!r}")
    if not math.isfinite(value):
        raise UserError(f"{key} must be a finite number, got {value!r}")
    return float(value)


def _regular(key: str, pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise UserError(f"{key} must have regular expressions as keys, got {pattern!r}: {error}") from error
    return pattern


def _plain(values: Sequence[float]) -> Any:
    return values[0] if len(values) == 1 else list(values)


def _some(names: Collection[str]) -> str:
    return ", ".join(list(names)[:5])
