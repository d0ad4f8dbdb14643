"""Search spaces: the keys of a merge that vary with their ranges or choices, and the points inside.

A space may hold several methods. A point has a value for every searched key that its method takes, and for no other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial as Asked

from src.utils.errors import UserError, unknown_choice

METHOD = "merge"
PREFIX = f"{METHOD}."
STANDARD = {f"{PREFIX}weight": [0.0, 1.0], f"{PREFIX}density": [0.05, 1.0]}
SAME_FILES = ("tokenizer", "template", "generation_config")  # decide the files around the weights, which points share
DIGITS = 4  # significant: the point that is scored is the one that its command line names
FORMS = "[low, high], {log: [low, high]}, {int: [low, high]}, {choices: [a, b, ...]} or a list of choices"
Node = Mapping[str, Any]


@dataclass(frozen=True)
class Point:
    """A merge point of a space.

    Args:
        method: Choice of conf/merge.
        values: By searched key, e.g. `{"merge.density": 0.2}`.
    """

    method: str
    values: Mapping[str, Any]

    def settings(self, node: Node) -> dict[str, Any]:
        """The keys of the method that the point sets, e.g. `{"density": 0.2, "weights": {"codegen": 0.3}}`.

        Args:
            node: All keys of the method; entries of lists and mappings that the point leaves alone stay.

        Raises:
            UserError: Entries of a list have gaps.
        """
        changed: dict[str, Any] = {}
        for key, value in self.values.items():
            first, *inner = key.removeprefix(PREFIX).split(".")
            changed[first] = _placed(changed.get(first, node.get(first)), inner, value, key)
        return changed


@dataclass(frozen=True)
class Space:
    """Methods and the keys that vary.

    Args:
        methods: Choices of conf/merge.
        ranges: By key, the values to choose from.
        keys: By method, the searched keys that it takes.
    """

    methods: tuple[str, ...]
    ranges: Mapping[str, BaseDistribution]
    keys: Mapping[str, tuple[str, ...]]

    def ask(self, trial: Asked) -> Point:
        """Let a sampler choose a point."""
        method = self.methods[0]
        if len(self.methods) > 1:
            method = str(trial.suggest_categorical(METHOD, self.methods))
        return Point(method, {key: _readable(_suggest(trial, key, self.ranges[key]), self.ranges[key])
                              for key in self.keys[method]})  # fmt: skip

    def parameters(self, point: Point) -> dict[str, Any]:
        """A point in the terms of a sampler."""
        return ({METHOD: point.method} if len(self.methods) > 1 else {}) | dict(point.values)

    def start(self, method: str, node: Node) -> Point | None:
        """The point that the configuration itself names; None if it lies outside or does not set every key.

        Args:
            method: The configured method.
            node: Its keys.
        """
        if method not in self.methods:
            return None
        values = {key: _found(node, key.removeprefix(PREFIX).split(".")) for key in self.keys[method]}
        inside = all(_contains(self.ranges[key], value) for key, value in values.items())
        return Point(method, values) if inside else None

    def edges(self, method: str) -> list[tuple[str, Point]]:
        """Points that take one key to an end of its range, or to one of its choices, and the others to the middle."""
        middle = {key: _ends(self.ranges[key])[0] for key in self.keys[method]}
        return [
            (key, Point(method, middle | {key: value}))
            for key in self.keys[method]
            for value in _ends(self.ranges[key])[1:]
        ]


def searched_methods(space: Node | None, configured: str) -> list[str]:
    """The methods of `search.space`: its `merge`, else the configured method.

    Raises:
        UserError: They are not a list of different names.
    """
    named = (space or {}).get(METHOD, [configured])
    names = [named] if isinstance(named, str) else named
    if not isinstance(names, list) or not names or len(set(map(str, names))) < len(names):
        raise UserError(f"search.space.merge: expected a list of different methods, got {named!r}")
    return [str(name) for name in names]


def search_space(space: Node | None, nodes: Mapping[str, Node], specialists: Sequence[str]) -> Space:
    """Read `search.space`.

    Args:
        space: Key -> range or choices; None, or methods alone: coefficients and densities of these methods.
        nodes: By method, all its keys with their configured values.
        specialists: Their names.

    Raises:
        UserError: A key belongs to no method or has no effect, or a range is malformed; the key is named.
    """
    wanted = {str(key): value for key, value in (space or {}).items() if key != METHOD}
    wanted = wanted or _standard(nodes, specialists)
    for key in wanted:
        _check_key(key, nodes)
    keys = {method: tuple(key for key in wanted if _first(key) in node) for method, node in nodes.items()}
    for method, own in keys.items():
        _check_coefficients(method, own, nodes[method])
    ranges = {key: _range(key, value, _is_whole(key, nodes)) for key, value in wanted.items()}
    if not ranges and len(nodes) < 2:
        raise UserError(
            f"search.space: merge={next(iter(nodes))} has neither coefficients nor a density; name its keys"
        )
    return Space(tuple(nodes), ranges, keys)


def _standard(nodes: Mapping[str, Node], specialists: Sequence[str]) -> dict[str, Any]:
    """Coefficients, unless the user has set them by name, and density, where a method has them."""
    found = {key: value for key, value in STANDARD.items() if any(_first(key) in node for node in nodes.values())}
    if any(node.get("weights") is not None for node in nodes.values()):
        found.pop(f"{PREFIX}weight", None)
    if f"{PREFIX}weight" in found and len(specialists) > 2:
        shared = found.pop(f"{PREFIX}weight")
        found = {f"{PREFIX}weights.{name}": shared for name in specialists} | found
    return found


def _check_key(key: str, nodes: Mapping[str, Node]) -> None:
    if not key.startswith(PREFIX):
        raise UserError(f"search.space.{key}: expected merge, or a key of a merge such as merge.density")
    available = sorted({str(own) for node in nodes.values() for own in node if not str(own).startswith("_")})
    if _first(key) not in available:
        raise unknown_choice("key in search.space", key, [PREFIX + own for own in available if own not in SAME_FILES])
    if _first(key) in SAME_FILES:
        raise UserError(f"search.space.{key}: all points share one tokenizer and one set of files; set {key}= instead")


def _check_coefficients(method: str, keys: Sequence[str], node: Node) -> None:
    """Refuse a coefficient that the merge would ignore."""
    if f"{PREFIX}weight" in keys and (node.get("weights") is not None or any(_first(k) == "weights" for k in keys)):
        raise UserError(
            f"search.space.merge.weight has no effect on merge={method} beside merge.weights; leave one out"
        )


def _range(key: str, value: Any, whole: bool) -> BaseDistribution:
    """The distribution that a value of `search.space` describes."""
    form, content = "range", value
    if isinstance(value, Mapping) and len(value) == 1:
        [(form, content)] = value.items()
    elif isinstance(value, list) and not _is_pair(value):
        form = "choices"
    if form == "choices" and isinstance(content, list) and len(content) > 1 and all(map(_is_plain, content)):
        return CategoricalDistribution(content)
    if form not in ("range", "log", "int") or not _is_pair(content) or (form == "log" and content[0] <= 0):
        raise UserError(f"search.space.{key}: expected {FORMS}, got {value!r}")
    low, high = content
    if not low < high:
        raise UserError(f"search.space.{key}: expected a range from low to high, got {value!r}")
    if form == "int" or (form == "range" and whole and all(isinstance(end, int) for end in content)):
        if not all(isinstance(end, int) for end in content):
            raise UserError(f"search.space.{key}: expected integers, got {value!r}")
        return IntDistribution(low, high)
    return FloatDistribution(float(low), float(high), log=form == "log")


def _is_whole(key: str, nodes: Mapping[str, Node]) -> bool:
    """True if the methods' own values of a key are integers."""
    values = [_found(node, key.removeprefix(PREFIX).split(".")) for node in nodes.values() if _first(key) in node]
    return all(isinstance(value, int) and not isinstance(value, bool) for value in values)


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))


def _first(key: str) -> str:
    return key.removeprefix(PREFIX).partition(".")[0]


def _suggest(trial: Asked, key: str, values: BaseDistribution) -> Any:
    if isinstance(values, FloatDistribution):
        return trial.suggest_float(key, values.low, values.high, log=values.log)
    if isinstance(values, IntDistribution):
        return trial.suggest_int(key, values.low, values.high)
    assert isinstance(values, CategoricalDistribution)
    return trial.suggest_categorical(key, values.choices)


def _readable(value: Any, values: BaseDistribution) -> Any:
    """A number of few digits instead of 17, inside its range."""
    if not isinstance(values, FloatDistribution):
        return value
    return min(max(float(f"{value:.{DIGITS}g}"), values.low), values.high)


def _ends(values: BaseDistribution) -> list[Any]:
    """A value inside, then the values at the ends, or all choices."""
    if isinstance(values, CategoricalDistribution):
        return [values.choices[0], *values.choices]
    assert isinstance(values, (FloatDistribution, IntDistribution))
    middle = math.sqrt(values.low * values.high) if values.log else (values.low + values.high) / 2
    return [int(middle) if isinstance(values, IntDistribution) else middle, values.low, values.high]


def _contains(values: BaseDistribution, value: Any) -> bool:
    if isinstance(values, CategoricalDistribution):
        return any(value == choice and type(value) is type(choice) for choice in values.choices)
    assert isinstance(values, (FloatDistribution, IntDistribution))
    whole = isinstance(value, int) or isinstance(values, FloatDistribution)
    return _is_number(value) and whole and values.low <= value <= values.high


def _found(node: Any, path: Sequence[str]) -> Any:
    """The value at a path of keys and positions; None if there is none."""
    for part in path:
        if isinstance(node, Mapping):
            node = node.get(part)
        elif isinstance(node, list) and part.isdecimal() and int(part) < len(node):
            node = node[int(part)]
        else:
            return None
    return node


def _placed(content: Any, path: Sequence[str], value: Any, key: str) -> Any:
    """Copy a value with the part at `path` replaced; integers in the path are positions in a list."""
    if not path:
        return value
    if path[0].isdecimal() and not isinstance(content, Mapping):
        entries, place = list(content) if isinstance(content, list) else [], int(path[0])
        if place > len(entries):
            raise UserError(f"search.space.{key}: entry {len(entries)} of the list is missing")
        entry = entries[place] if place < len(entries) else None
        return [*entries[:place], _placed(entry, path[1:], value, key), *entries[place + 1 :]]
    named = dict(content) if isinstance(content, Mapping) else {}
    return named | {path[0]: _placed(named.get(path[0]), path[1:], value, key)}
