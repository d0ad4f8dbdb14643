"""Do these checkpoints belong together? Asked before anything is written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from src.checkpoints import Checkpoint
from src.merging.recipe import Recipe
from src.utils.errors import UserError, first_differences


def check_parents(base: Checkpoint, specialists: Mapping[str, Checkpoint]) -> None:
    """All parents have the same tensors, shapes, dtypes, tied weights and tokenizer.

    Raises:
        UserError: They differ; the first five differences are listed.
    """
    if not specialists:
        raise UserError("nothing to merge: name at least one specialist, specialists.codegen=DIR")
    for label, parent in specialists.items():
        differences = table_differences(base, parent)
        if differences:
            raise UserError(first_differences(f"{parent.path} ({label}) does not fit {base.path} (base)", differences))
        if parent.tied != base.tied:
            raise UserError(
                f"{parent.path} ({label}) has tie_word_embeddings={parent.tied}, {base.path} (base) {base.tied}: "
                "export both the same way"
            )
        _check_tokenizer(base, label, parent)


def table_differences(base: Checkpoint, parent: Checkpoint) -> list[str]:
    """Missing, extra, misshapen and differently typed tensors of `parent`, in the order of their names."""
    found = []
    for name in sorted({*base.table, *parent.table}):
        expected, got = base.table.get(name), parent.table.get(name)
        if got is None:
            found.append(f"{name} is missing")
        elif expected is None:
            found.append(f"{name} is not in the base")
        elif got.shape != expected.shape:
            found.append(f"{name} has shape {list(got.shape)}, expected {list(expected.shape)}")
        elif got.dtype != expected.dtype:
            found.append(f"{name} has dtype {_short(got.dtype)}, expected {_short(expected.dtype)}")
    return found


def tokenizer_vocabulary(checkpoint: Checkpoint) -> dict[str, int] | None:
    """Token -> id from `tokenizer.json`, added tokens included; None where there is no such file.

    Raises:
        UserError: The file is corrupt.
    """
    path = checkpoint.path / "tokenizer.json"
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        stored = content["model"]["vocab"]
        # a unigram model lists [token, score] in the order of the ids
        vocabulary = dict(stored) if isinstance(stored, dict) else {entry[0]: i for i, entry in enumerate(stored)}
        return vocabulary | {token["content"]: token["id"] for token in content.get("added_tokens", [])}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is corrupt: expected a tokenizer with a vocabulary ({error})") from error


def vocabulary_differences(base: Mapping[str, int], other: Mapping[str, int]) -> list[str]:
    """Tokens whose ids differ or that only one side has, in the order of their ids."""
    tokens = {token for token, _ in {*base.items()} ^ {*other.items()}}
    ordered = sorted(tokens, key=lambda token: (min(base.get(token, 1 << 40), other.get(token, 1 << 40)), token))
    return [
        f"{token!r} is {base.get(token, 'absent')} in the base, {other.get(token, 'absent')} here" for token in ordered
    ]


def check_excludes(recipes: Sequence[Recipe], names: Sequence[str]) -> None:
    """A pattern that matches no tensor is a mistake.

    Raises:
        UserError: `merge.exclude` matches nothing.
    """
    for recipe in recipes:
        if recipe.exclude is not None and not any(recipe.excludes(name) for name in names):
            raise UserError(
                f"merge.exclude={recipe.exclude!r} matches no tensor; there are {', '.join(names[:5])}, ..."
            )


def _check_tokenizer(base: Checkpoint, label: str, parent: Checkpoint) -> None:
    ours, theirs = tokenizer_vocabulary(base), tokenizer_vocabulary(parent)
    if ours is None or theirs is None:
        return  # weights without a tokenizer (an adapter, a bare export) are merged as they are
    differences = vocabulary_differences(ours, theirs)
    if differences:
        raise UserError(
            first_differences(f"the tokenizer of {parent.path} ({label}) differs from the base's", differences)
        )


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
