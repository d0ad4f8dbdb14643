"""Structure of a mergekit YAML: models, layers and parameters, each checked where it stands. mergekit is not needed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from src.merging.mergekit_yaml.settings import integer
from src.utils.errors import UserError, unknown_choice

KEYS = (
    *("merge_method", "base_model", "models", "slices", "parameters", "dtype", "out_dtype"),
    *("tokenizer", "tokenizer_source", "chat_template"),
)
DTYPES = ("float32", "bfloat16", "float16")
FRANKENMERGE = "layers that repeat, move or are left out make another network, which is not a merge of its parents"


@dataclass(frozen=True)
class Model:
    """A model as a YAML names it.

    Args:
        path: Directory or name of the Hub, with `@revision` where it has one.
        lora: The same of a LoRA adapter on it, or None.
    """

    path: str
    lora: str | None = None

    def __str__(self) -> str:
        return self.path if self.lora is None else f"{self.path}+{self.lora}"


@dataclass(frozen=True)
class Source:
    """A model of a `Span`, with its own parameters as they stand in the YAML, and their key."""

    model: Model
    parameters: Mapping[str, Any]
    where: str


@dataclass(frozen=True)
class Span:
    """Consecutive layers of all models, which are merged with the same settings.

    Args:
        first: First layer.
        last: Layer after the last; None: the end of the network.
        sources: The models, in the order of the YAML.
        parameters: For all of them.
        where: Key in the YAML, for messages.
    """

    first: int
    last: int | None
    sources: tuple[Source, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""


@dataclass(frozen=True)
class MergekitRecipe:
    """Content of a mergekit YAML.

    Args:
        method: mergekit's `merge_method`.
        base: The `base_model`, or None.
        spans: All layers, in their order.
        parameters: For all of them.
        dtype: Dtype of the merged weights; None: that of the models.
        arithmetic: Dtype of mergekit's arithmetic; None: that of the models.
        tokenizer: `base`, `union`, the model whose tokenizer is taken, or None.
        chat_template: `auto`, a name, the text of a template, or None.
    """

    method: str
    base: Model | None
    spans: tuple[Span, ...]
    parameters: Mapping[str, Any]
    dtype: str | None
    arithmetic: str | None
    tokenizer: str | Model | None
    chat_template: str | None


def read_recipe(text: str) -> MergekitRecipe:
    """Parse a mergekit YAML.

    Raises:
        UserError: It is not YAML; a key is unknown, missing or has a wrong value; or it describes what is not a merge
            of whole models. The message names the key.
    """
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"not a YAML document: {' '.join(str(error).split())}") from error
    if not isinstance(content, Mapping):
        raise UserError(f"expected a mapping with merge_method and models, got {type(content).__name__}")
    if "modules" in content:
        raise UserError("modules: merging the parts of a model apart is not supported; write models or slices")
    given = _mapping(content, "", KEYS)
    method = given.get("merge_method")
    if not isinstance(method, str):
        raise UserError(f"merge_method must be the name of a method, got {method!r}")
    if method == "passthrough":
        raise UserError(f"merge_method: passthrough: {FRANKENMERGE}")
    if ("models" in given) == ("slices" in given):
        raise UserError("expected either models or slices")
    return MergekitRecipe(
        method,
        _model(given["base_model"], "base_model") if given.get("base_model") is not None else None,
        (_span_of_models(given["models"]),) if "models" in given else _spans_of_slices(given),
        _parameters(given, ""),
        _dtype(given, "out_dtype") or _dtype(given, "dtype"),
        _dtype(given, "dtype"),
        _tokenizer(given),
        _text(given, "chat_template"),
    )


def _span_of_models(models: Any) -> Span:
    sources = []
    for index, entry in enumerate(_list(models, "models")):
        where = f"models[{index}]"
        given = _mapping(entry, where, ("model", "parameters"))
        sources.append(Source(_model(given.get("model"), f"{where}.model"), _parameters(given, where), where))
    _require_distinct(sources, "models")
    return Span(0, None, tuple(sources))


def _spans_of_slices(given: Mapping[str, Any]) -> tuple[Span, ...]:
    spans: list[Span] = []
    for index, entry in enumerate(_list(given["slices"], "slices")):
        where = f"slices[{index}]"
        part = _mapping(entry, where, ("sources", "parameters"))
        span = _span(_list(part.get("sources"), f"{where}.sources"), _parameters(part, where), where)
        if span.first != (spans[-1].last if spans else 0):
            raise UserError(f"{where}: begins with layer {span.first}: {FRANKENMERGE}")
        if spans and {one.model for one in span.sources} != {one.model for one in spans[0].sources}:
            raise UserError(f"{where}.sources: other models than in slices[0]; merge all layers of the same models")
        spans.append(span)
    return tuple(spans)


def _span(entries: list[Any], parameters: Mapping[str, Any], where: str) -> Span:
    sources, ranges = [], []
    for index, entry in enumerate(entries):
        place = f"{where}.sources[{index}]"
        given = _mapping(entry, place, ("model", "layer_range", "parameters"))
        sources.append(Source(_model(given.get("model"), f"{place}.model"), _parameters(given, place), place))
        bounds = _list(given.get("layer_range"), f"{place}.layer_range")
        if len(bounds) != 2:
            raise UserError(f"{place}.layer_range: expected the first layer and the one after the last, got {bounds}")
        ranges.append([integer(bound, f"{place}.layer_range") for bound in bounds])
    first, last = ranges[0]
    if other := next((bounds for bounds in ranges if bounds != ranges[0] or bounds[0] >= bounds[1]), None):
        raise UserError(f"{where}: layer_range {other} beside {ranges[0]}: {FRANKENMERGE}")
    _require_distinct(sources, f"{where}.sources")
    return Span(first, last, tuple(sources), parameters, where)


def _require_distinct(sources: list[Source], where: str) -> None:
    models = [source.model for source in sources]
    if twice := [str(model) for model in models if models.count(model) > 1]:
        raise UserError(f"{where}: {twice[0]} is named twice")


def _model(value: Any, where: str) -> Model:
    """Parse `path`, `path@revision`, either with `+adapter`, or the same as a mapping."""
    if isinstance(value, str) and value:
        path, plus, lora = value.partition("+")
        if "+" in lora or not path or (plus and not lora):
            raise UserError(f"{where} must be a model, or model+adapter, got {value!r}")
        return Model(path, lora or None)
    if isinstance(value, Mapping):
        given = _mapping(value, where, ("model", "lora"))
        adapter = None if given.get("lora") is None else _path(given["lora"], f"{where}.lora")
        return Model(_path(given.get("model"), f"{where}.model"), adapter)
    raise UserError(f"{where} must be a directory or a name of the Hub, got {value!r}")


def _path(value: Any, where: str) -> str:
    if isinstance(value, Mapping):
        given = _mapping(value, where, ("path", "revision"))
        value = f"{given.get('path')}@{given['revision']}" if given.get("revision") else given.get("path")
    if not isinstance(value, str) or not value:
        raise UserError(f"{where} must be a directory or a name of the Hub, got {value!r}")
    return value


def _parameters(given: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    found = given.get("parameters")
    return {} if found is None else _mapping(found, f"{where}.parameters".lstrip("."), None)


def _dtype(given: Mapping[str, Any], key: str) -> str | None:
    value = given.get(key)
    if value is None:
        return None
    name = str(value).removeprefix("torch.")
    if name not in DTYPES:
        raise unknown_choice(key, name, list(DTYPES))
    return name


def _tokenizer(given: Mapping[str, Any]) -> str | Model | None:
    node, source = given.get("tokenizer"), given.get("tokenizer_source")
    if node is not None and source is not None:
        raise UserError("tokenizer and tokenizer_source: expected one of them")
    where = "tokenizer_source"
    if node is not None:
        parts, where = _mapping(node, "tokenizer", ("source", "tokens", "pad_to_multiple_of")), "tokenizer.source"
        for key in ("tokens", "pad_to_multiple_of"):
            if parts.get(key):
                raise UserError(f"tokenizer.{key} is not supported: rows of the vocabulary are matched by token alone")
        source = parts.get("source", "union")
    return source if source in ("base", "union", None) else _model(source, where)


def _text(given: Mapping[str, Any], key: str) -> str | None:
    value = given.get(key)
    if value is not None and not isinstance(value, str):
        raise UserError(f"{key} must be text, got {value!r}")
    return value


def _mapping(value: Any, where: str, known: Collection[str] | None) -> dict[str, Any]:
    """A mapping with no other keys than `known` (None: any)."""
    if not isinstance(value, Mapping):
        raise UserError(f"{where} must be a mapping, as in {{name: value}}, got {value!r}")
    found = {str(key): entry for key, entry in value.items()}
    for key in found:
        if known is not None and key not in known:
            raise unknown_choice("key", f"{where}.{key}".lstrip("."), [f"{where}.{one}".lstrip(".") for one in known])
    return found


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise UserError(f"{where} must be a list, got {value!r}")
    return value
