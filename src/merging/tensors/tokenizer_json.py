"""Vocabularies of `tokenizer.json` files, and the union of several."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.utils.errors import UserError
from src.utils.files import read_json_object, write_json

FILE = "tokenizer.json"


@dataclass(frozen=True)
class Vocabulary:
    """Token -> id, added tokens included."""

    ids: dict[str, int]

    @property
    def size(self) -> int:
        """One more than the highest id."""
        return max(self.ids.values(), default=-1) + 1


def read_vocabulary(directory: Path) -> Vocabulary | None:
    """The vocabulary of a directory's `tokenizer.json`; None if there is no such file.

    Raises:
        UserError: The file is corrupt.
    """
    content = read_tokenizer(directory)
    if content is None:
        return None
    try:
        stored = content["model"]["vocab"]
        # a unigram model lists [token, score] in the order of the ids
        ids = dict(stored) if isinstance(stored, dict) else {entry[0]: i for i, entry in enumerate(stored)}
        return Vocabulary(ids | {token["content"]: token["id"] for token in content.get("added_tokens", [])})
    except (KeyError, TypeError) as error:
        raise UserError(f"{directory / FILE} is corrupt: expected a tokenizer with a vocabulary ({error!r})") from error


def read_tokenizer(directory: Path) -> dict[str, Any] | None:
    """A directory's parsed `tokenizer.json`; None if there is none.

    Raises:
        UserError: The file is not a JSON object.
    """
    path = directory / FILE
    return read_json_object(path) if path.is_file() else None


def vocabulary_differences(base: Mapping[str, int], other: Mapping[str, int]) -> list[str]:
    """Tokens whose ids differ or that only one side has, in id order."""
    tokens = {token for token, _ in {*base.items()} ^ {*other.items()}}
    last = 1 << 62
    ordered = sorted(tokens, key=lambda token: (min(base.get(token, last), other.get(token, last)), token))
    absent = "absent"
    return [f"{t!r} is {base.get(t, absent)} in the base, {other.get(t, absent)} here" for t in ordered]


def write_union(directory: Path, base: Path, others: Iterable[Path], added: Iterable[str]) -> None:
    """Write `directory`/tokenizer.json: the base's tokenizer with the tokens that only others have.

    Added tokens, such as chat markers, stay added tokens. Regular tokens come with the merge rules that the base lacks.
    These rules follow the base's own, so the base's text is tokenized as before.

    Args:
        directory: Of the merge; its `config.json` is not changed.
        base: Checkpoint directory of the base.
        others: Those of the specialists.
        added: New tokens in the order of their ids, which follow the base's highest.
    """
    content = read_tokenizer(base)
    vocabulary = read_vocabulary(base)
    assert content is not None
    assert vocabulary is not None
    tokenizers = [tokenizer for path in others if (tokenizer := read_tokenizer(path)) is not None]
    markers = {token["content"]: token for tokenizer in tokenizers for token in tokenizer.get("added_tokens", [])}
    for place, token in enumerate(added, vocabulary.size):
        if token in markers:
            content.setdefault("added_tokens", []).append({**markers[token], "id": place})
        elif isinstance(content["model"]["vocab"], dict):
            content["model"]["vocab"][token] = place
        else:
            raise UserError(
                f"merge.tokenizer=union: {token!r} belongs to a vocabulary that cannot grow; set merge.tokenizer=base"
            )
    if isinstance(content["model"]["vocab"], dict):  # otherwise the tokenizers library would renumber added tokens
        content["model"]["vocab"] |= {token["content"]: token["id"] for token in content.get("added_tokens", [])}
    if "merges" in content["model"]:
        known = {json.dumps(rule) for rule in content["model"]["merges"]}
        for tokenizer in tokenizers:
            for rule in tokenizer["model"].get("merges", []):
                if json.dumps(rule) not in known:
                    known.add(json.dumps(rule))
                    content["model"]["merges"].append(rule)
    write_json(directory / FILE, content)
