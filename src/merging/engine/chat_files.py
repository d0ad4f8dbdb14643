"""Chat template, special tokens and generation config of a merge: whose they are, and an error where that is open."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.checkpoints import read_config
from src.merging.recipe import Recipe
from src.utils.errors import UserError, first_differences, raise_first
from src.utils.files import read_json_object, write_json

TOKENIZER, TEMPLATE, GENERATION = "tokenizer_config.json", "chat_template.jinja", "generation_config.json"
SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token")
TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
IN_CONFIG = " of config.json"
OF_THE_FILE = ("transformers_version", "_from_model_config")


@dataclass(frozen=True)
class ChatFiles:
    """Sources of a merge's files.

    Args:
        source: Directory that config, tokenizer and chat template are taken from.
        template: Another chat template, or None.
        generation: The generation config, or None where no parent that was asked has one.
    """

    source: Path
    template: str | None
    generation: Path | None

    def write(self, directory: Path) -> None:
        """Write chat template and generation config into `directory`, over those that were copied from `source`."""
        if self.generation is not None:
            (directory / GENERATION).write_bytes(self.generation.read_bytes())
        if self.template is not None:
            set_template(directory, self.template)


def choose_chat_files(base: Path, specialists: Mapping[str, Path], recipe: Recipe) -> ChatFiles:
    """Find the directories that the files of a merge come from.

    By default they are the specialists', because template and end token are those of the fine-tuning; all specialists
    that have such files must agree. `merge.template` and `merge.generation_config` decide where they do not. With
    `merge.tokenizer` base or union the ids are the base's, and so are the files.

    Raises:
        UserError: They differ, or a key names neither a parent nor a file.
    """
    raise_first(chat_conflicts(base, specialists, recipe))
    places = {"base": base, **specialists}
    by_token = recipe.tokenizer in ("base", "union")
    named, template = _template(recipe.template, places)
    own = [path for _, path in (*sorted(_SPECIAL.having(specialists).items()), *sorted(specialists.items()))]
    source = named or (base if by_token else own[0])
    if by_token and named is not None:
        source, template = base, _text_of(named)
    place, generation = _named(recipe.generation_config, places)
    if place is not None:
        generation = place / GENERATION if (place / GENERATION).is_file() else None
    elif generation is None and not by_token:
        generation = next((path / GENERATION for path in _GENERATIONS.having(specialists).values()), None)
    return ChatFiles(source, template, generation)


def chat_conflicts(base: Path, specialists: Mapping[str, Path], recipe: Recipe) -> Iterator[UserError]:
    """Everything that leaves open whose template, special tokens and generation config a merge gets."""
    places = {"base": base, **specialists}
    by_token = recipe.tokenizer in ("base", "union")
    for key, value in named_files(recipe).items():
        if value not in places and not Path(value).is_file():
            yield UserError(f"merge.{key}={value}: expected {', '.join(places)} or a file")
    if not by_token and recipe.template is None:
        yield from _TEMPLATES.conflicts(specialists)
    if not by_token and recipe.template not in places:
        yield from _SPECIAL.conflicts(specialists)
    if not by_token and recipe.generation_config is None:
        yield from _GENERATIONS.conflicts(specialists)


def chat_differences(base: Path, other: Path) -> dict[str, list[str]]:
    """Chat template, special tokens and generation config of a parent that has them, against the base's, by kind."""
    kinds = [kind for kind in (_TEMPLATES, _SPECIAL, _GENERATIONS) if kind.having({"": other})]
    found = {kind.what: (_said(kind, base), _said(kind, other)) for kind in kinds}
    return {what: lines for what, pair in found.items() if (lines := _Kind.differences(*pair, "the base"))}


def named_files(recipe: Recipe) -> dict[str, str]:
    """Parents and files that `merge.template` and `merge.generation_config` name; the text of a template has braces."""
    given = {"template": recipe.template, "generation_config": recipe.generation_config}
    return {key: value for key, value in given.items() if value is not None and not _is_text(key, value)}


def _is_text(key: str, value: str) -> bool:
    return key == "template" and "{" in value


def set_template(directory: Path, template: str) -> None:
    """Make `template` the only chat template of a tokenizer."""
    for other in (*directory.glob("chat_template*"), *directory.glob("additional_chat_templates/*")):
        other.unlink()
    (directory / TEMPLATE).write_text(template, encoding="utf-8")
    if (directory / TOKENIZER).is_file():
        content = read_json_object(directory / TOKENIZER)
        if content.pop("chat_template", None) is not None:
            write_json(directory / TOKENIZER, content)


def template_of(directory: Path) -> dict[str, Any] | None:
    """Chat templates of a tokenizer by name; None where there is none, `default` is the one without a name."""
    found: dict[str, Any] = {}
    if (directory / TOKENIZER).is_file():
        stored = read_json_object(directory / TOKENIZER).get("chat_template")
        named = {one["name"]: one["template"] for one in stored} if isinstance(stored, list) else {"default": stored}
        found = {name: template for name, template in named.items() if template}
    if (directory / "chat_template.json").is_file():
        found["default"] = read_json_object(directory / "chat_template.json").get("chat_template")
    if (directory / TEMPLATE).is_file():
        found["default"] = (directory / TEMPLATE).read_text(encoding="utf-8")
    for path in sorted(directory.glob("additional_chat_templates/*.jinja")):
        found[path.stem] = path.read_text(encoding="utf-8")
    return found or None


def _tokens(directory: Path) -> dict[str, Any]:
    """Special tokens of a tokenizer and their ids in the config."""
    found: dict[str, Any] = {}
    for name in ("special_tokens_map.json", TOKENIZER):
        if (directory / name).is_file():
            content = read_json_object(directory / name)
            found |= {key: _text(content[key]) for key in SPECIAL if content.get(key) is not None}
    config = read_config(directory)  # an adapter has none, and says nothing about the ids
    return found | {f"{key}{IN_CONFIG}": config.get(key) for key in TOKEN_IDS if config}


def _text(token: Any) -> Any:
    return token.get("content") if isinstance(token, dict) else token


def _generation(directory: Path) -> dict[str, Any]:
    content = read_json_object(directory / GENERATION)
    return {key: value for key, value in content.items() if key not in OF_THE_FILE}


@dataclass(frozen=True)
class _Kind:
    """Something that specialists must agree on: its files, and how to read what they say (None where nothing)."""

    what: str
    key: str
    files: tuple[str, ...]
    read: Callable[[Path], dict[str, Any] | None]

    def having(self, specialists: Mapping[str, Path]) -> dict[str, Path]:
        """The specialists that have one of the files."""
        return {
            label: path for label, path in specialists.items() if any((path / name).is_file() for name in self.files)
        }

    def conflicts(self, specialists: Mapping[str, Path]) -> Iterator[UserError]:
        """Specialists that say something else than an earlier one; each is named once."""
        having = self.having(specialists)
        if len(having) < 2:
            return
        said = {label: found for label, path in having.items() if (found := self.read(path)) is not None}
        for position, (label, found) in enumerate(said.items()):
            for earlier in list(said)[:position]:
                if lines := self.differences(said[earlier], found, earlier):
                    message = f"the {self.what} of {specialists[label]} ({label}) differ from those of {earlier}"
                    choices = (
                        f"; set {self.key}=base, {', '.join(specialists)}{'' if self.read is _tokens else ' or a file'}"
                    )
                    yield UserError(first_differences(message, lines) + choices)
                    break

    @staticmethod
    def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any], owner: str) -> list[str]:
        """Differences between two parents, in the order of the names."""
        asked = {name for name in ours.keys() | theirs.keys() if not name.endswith(IN_CONFIG)}
        asked |= ours.keys() & theirs.keys()
        names = sorted(name for name in asked if ours.get(name) != theirs.get(name))
        return [f"{n} is {_short(ours.get(n))} in {owner}, {_short(theirs.get(n))} here" for n in names]


def _said(kind: _Kind, directory: Path) -> dict[str, Any]:
    return (kind.read(directory) or {}) if kind.having({"": directory}) else {}


_TEMPLATES = _Kind("chat templates", "merge.template", (TOKENIZER, TEMPLATE, "chat_template.json"), template_of)
_SPECIAL = _Kind("special tokens", "merge.template", (TOKENIZER, "special_tokens_map.json", "tokenizer.json"), _tokens)
_GENERATIONS = _Kind("generation configs", "merge.generation_config", (GENERATION,), _generation)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _named(value: str | None, places: Mapping[str, Path]) -> tuple[Path | None, Path | None]:
    """The directory or the file that a key names."""
    if value is None or value in places:
        return (None if value is None else places[value]), None
    return None, Path(value)


def _template(value: str | None, places: Mapping[str, Path]) -> tuple[Path | None, str | None]:
    """The directory or the text that `merge.template` names."""
    if value is not None and _is_text("template", value):
        return None, value
    place, file = _named(value, places)
    return place, None if file is None else file.read_text(encoding="utf-8")


def _text_of(directory: Path) -> str | None:
    """A parent's chat template, which another tokenizer can take over."""
    if (directory / TEMPLATE).is_file():
        return (directory / TEMPLATE).read_text(encoding="utf-8")
    if template_of(directory) is None:
        return None
    raise UserError(
        f"{directory / TOKENIZER} holds its chat template inside: save it as a file and set merge.template=FILE"
    )
