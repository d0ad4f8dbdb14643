"""The `mergekit_config.yml` beside a merge: the YAML with which mergekit computes the same weights."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from src.checkpoints import TensorInfo
from src.merging.mergekit_yaml.counterparts import BY_MERGEKIT_NAME, BY_OUR_NAME, Counterpart, Parameter
from src.merging.recipe import OUTPUT_DTYPES, Recipe
from src.merging.schedule import DEFAULT, Schedule
from src.merging.tensors.lora_adapter import is_adapter
from src.utils.errors import UserError
from src.utils.files import write_text

NAME = "mergekit_config.yml"
WRITTEN = "written"
RANDOM = ("dare_linear", "dare_ties", "della", "della_linear")
SNAPSHOT = re.compile(r"models--(?P<owner>[^/]+?)--(?P<name>[^/]+)/snapshots/(?P<commit>[0-9a-f]{40})$")
SPECIAL = "+@"  # mergekit splits the text of a model at these


def write_mergekit_config(
    directory: Path, recipe: Recipe, base: Path, specialists: Mapping[str, Path], table: Mapping[str, TensorInfo]
) -> str:
    """Write `mergekit_config.yml` into the directory of a merge, if mergekit can compute it.

    Args:
        directory: Directory of the merge.
        recipe: Its recipe.
        base: Checkpoint directory of the base.
        specialists: Checkpoint or adapter directories by name, in the order of the coefficients.
        table: Names, shapes and dtypes of the merged tensors.

    Returns:
        `written`, or the reason why there is no such YAML.
    """
    try:
        text = mergekit_yaml(recipe.describe(list(specialists)), base, specialists, _dtype(table))
    except UserError as error:
        return f"not written: {error}"
    write_text(directory / NAME, text)
    return WRITTEN


def mergekit_yaml(description: Mapping[str, Any], base: Path, specialists: Mapping[str, Path], dtype: str) -> str:
    """The YAML of a merge.

    Args:
        description: See `Recipe.describe`.
        base: Checkpoint directory of the base.
        specialists: Checkpoint or adapter directories by name.
        dtype: Dtype of the merged weights.

    Raises:
        UserError: mergekit lacks the method or one of its settings.
    """
    counterpart = _counterpart(description)
    _check_common(description)
    models = {name: _reference(base, place) for name, place in specialists.items()}
    own, shared = _parameters(counterpart, description, list(models))
    content: dict[str, Any] = {"merge_method": counterpart.theirs}
    if with_base := _base_model(counterpart, description, _reference(None, base), list(models.values())):
        content["base_model"] = with_base
    content["models"] = [
        {"model": model} | ({"parameters": own[name]} if own[name] else {}) for name, model in models.items()
    ]
    if shared:
        content["parameters"] = shared
    is_ours = description["engine"] == "own" and "name" not in description
    content |= ({"dtype": "float32"} if is_ours else {}) | {"out_dtype": dtype}
    head = "# mergekit draws other masks of the same density.\n" if counterpart.theirs in RANDOM else ""
    return head + yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def _counterpart(description: Mapping[str, Any]) -> Counterpart:
    room, _, method = str(description["_target_"]).rpartition(".")
    name = description["name"] if method == "mergekit" else method
    found = (BY_MERGEKIT_NAME if method == "mergekit" else BY_OUR_NAME).get(name)
    if found is None or room != "src.merging.registry":
        raise UserError(f"mergekit has no {name}")
    return found


def _parameters(
    counterpart: Counterpart, description: Mapping[str, Any], labels: Sequence[str]
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Parameters of every model, and those of the merge."""
    found = _Values(counterpart, description, labels)
    if "name" not in description:  # merge=mergekit has mergekit's own parameters
        return {label: found.of_model(label) for label in labels}, found.shared()
    shared = dict(description["parameters"] or {})
    if counterpart.theirs == "slerp":
        shared = found.shared() | shared
    is_weighted = "weight" in counterpart.parameters and "weight" not in shared
    return {label: {"weight": description["weights"][label]} if is_weighted else {} for label in labels}, shared


class _Values:
    """Settings of a merge as parameters of mergekit."""

    def __init__(self, counterpart: Counterpart, description: Mapping[str, Any], labels: Sequence[str]) -> None:
        self._counterpart = counterpart
        self._description = description
        self._labels = labels
        for key, value in counterpart.fixed.items():
            if key in description and description[key] != value:
                raise UserError(f"mergekit's {counterpart.theirs} has no merge.{key}={description[key]}")
        if "weight" in counterpart.fixed and "name" not in description:
            self._require_equal_coefficients()

    def of_model(self, label: str) -> dict[str, Any]:
        """Parameters of one model."""
        names = [name for name, parameter in self._counterpart.parameters.items() if self._is_per_model(parameter)]
        return {name: self._value(name, self._counterpart.parameters[name], label) for name in names}

    def shared(self) -> dict[str, Any]:
        """Parameters of the merge."""
        if self._counterpart.theirs == "slerp":
            return {"t": self._second_share()}
        found = {}
        for name, parameter in self._counterpart.parameters.items():
            if parameter.ours is not None and not self._is_per_model(parameter):
                found[name] = self._value(name, parameter, None)
        return found

    def _is_per_model(self, parameter: Parameter) -> bool:
        if parameter.ours is None or not parameter.per_model:
            return False
        return parameter.ours == "weights" or isinstance(self._description[parameter.ours], Mapping)

    def _value(self, name: str, parameter: Parameter, label: str | None) -> Any:
        assert parameter.ours is not None
        value = self._description[parameter.ours]
        if label is not None:
            value = value[label]
        if name == "rescale":
            if value not in ("none", "l1"):
                raise UserError(f"mergekit has no merge.rescale={value}")
            return value == "l1"
        if name == "nuslerp_flatten":
            return not value
        return self._with_excluded(_setting(name, value)) if name == "weight" else _setting(name, value)

    def _with_excluded(self, value: Any) -> Any:
        """A coefficient of 0 keeps the base's values, where what is merged are task vectors."""
        excluded = self._description["exclude"]
        if excluded is None:
            return value
        filters = _literals(excluded)
        if self._counterpart.base != "required" or filters is None:
            raise UserError(f"mergekit's {self._counterpart.theirs} has no merge.exclude={excluded}")
        given = value if _is_conditional(value) else [{"value": value}]
        return [*({"filter": one, "value": 0.0} for one in filters), *given]

    def _second_share(self) -> Any:
        first, second = (self._description["weights"][label] for label in self._labels)
        if isinstance(first, float) and isinstance(second, float):
            return second / (first + second)
        given = [Schedule.of("merge.weights", one) for one in (first, second)]
        if not any(one.map(lambda value: 1 - value) == other for one, other in (given, given[::-1])):
            raise UserError("mergekit's slerp has coefficients that sum to 1")
        return _setting("t", second)

    def _require_equal_coefficients(self) -> None:
        given = self._description["weights"]
        if any(value != 1 / len(given) for value in given.values()):
            raise UserError(f"mergekit's {self._counterpart.theirs} has no coefficients, got {given}")


def _is_conditional(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(entry, Mapping) for entry in value)


def _setting(name: str, value: Any) -> Any:
    """A value of ours, as `Recipe.describe` has it, as a value of mergekit: patterns become filters."""
    if not _is_conditional(value):
        return value
    found: list[dict[str, Any]] = []
    for pattern, values in ((pattern, values) for entry in value for pattern, values in entry.items()):
        filters = [] if pattern == DEFAULT else _literals(pattern)
        if filters is None:
            raise UserError(f"mergekit has filters, not the regular expression {pattern} of merge.{name}")
        found += [{"filter": one, "value": values} for one in filters] or [{"value": values}]
    return found


def _literals(pattern: str) -> list[str] | None:
    """The strings that a regular expression is the alternative of; None if it is another one."""
    found = []
    for part in pattern.split("|"):
        literal = re.sub(r"\\(\W)", r"\1", part)
        if re.escape(literal) != part:
            return None
        found.append(literal)
    return found


def _check_common(description: Mapping[str, Any]) -> None:
    if description["match_norm"]:
        raise UserError("mergekit has no merge.match_norm")
    if description["tokenizer"] != "equal":
        raise UserError(f"mergekit fills rows of merge.tokenizer={description['tokenizer']} in another way")
    if description["engine"] != "own" and str(description["_target_"]).endswith(".slerp"):
        raise UserError("merge.engine=mergekit runs slerp as nuslerp")


def _base_model(counterpart: Counterpart, description: Mapping[str, Any], base: Any, models: Sequence[Any]) -> Any:
    if counterpart.base == "first":
        return models[0]
    if counterpart.base == "optional":
        return base if description.get("space", "deltas") == "deltas" else None
    if counterpart.base == "input":
        if description["exclude"] is not None:
            raise UserError(f"mergekit's {counterpart.theirs} has no merge.exclude={description['exclude']}")
        return None
    return base


def _reference(base: Path | None, place: Path) -> Any:
    """A model as mergekit names it: text where it can, else a mapping."""
    if base is not None and is_adapter(place):
        model, lora = _parts(base), _parts(place)
        texts = [_text(model), _text(lora)]
        return {"model": model, "lora": lora} if None in texts else "+".join(map(str, texts))
    parts = _parts(place)
    return _text(parts) or {"model": parts}


def _parts(place: Path) -> dict[str, str]:
    """Path and revision: the name on the Hub for a directory in its cache, else the absolute path."""
    if found := SNAPSHOT.search(place.absolute().as_posix()):
        return {"path": f"{found['owner']}/{found['name']}", "revision": found["commit"]}
    return {"path": str(place.absolute())}


def _text(parts: Mapping[str, str]) -> str | None:
    return None if any(sign in part for part in parts.values() for sign in SPECIAL) else "@".join(parts.values())


def _dtype(table: Mapping[str, TensorInfo]) -> str:
    names = {dtype: name for name, dtype in OUTPUT_DTYPES.items()}
    found = {info.dtype for info in table.values() if info.dtype.is_floating_point}
    if len(found) != 1 or not found <= names.keys():
        raise UserError(f"mergekit writes one dtype, the merge has {', '.join(sorted(map(_short, found)))}")
    return names[found.pop()]


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


class _Dumper(yaml.SafeDumper):
    """Lists of numbers on one line; no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_list(dumper: yaml.SafeDumper, data: list[Any]) -> yaml.Node:
    is_gradient = all(isinstance(entry, (int, float)) for entry in data)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=is_gradient)


_Dumper.add_representer(list, _represent_list)
