"""Differences between base and specialists, and what a merge does about each of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from src.checkpoints.compat import tensor_differences
from src.checkpoints.configs import config_differences, harmless_differences
from src.merging.engine.chat_files import chat_differences
from src.merging.recipe import Recipe
from src.merging.tensors.matching import match_tensors
from src.merging.tensors.parent import Parent
from src.merging.tensors.tokenizer_json import read_vocabulary, vocabulary_differences
from src.utils.errors import UserError

SHOWN = 3  # of one kind
REFUSED = "refused"
BY_TOKEN = {
    "equal": f"{REFUSED}; merge.tokenizer=base or union matches rows by token",
    "shared": f"{REFUSED}; merge.tokenizer=base or union matches rows by token",
    "base": "the base's tokens; rows matched by token",
    "union": "the base's tokens, then the new ones; rows matched by token",
}


@dataclass(frozen=True)
class Difference:
    """Something in which a specialist differs from the base.

    Args:
        parent: Name of the specialist.
        what: Tensors, dtype, config, tokens, ...
        detail: The first differences.
        outcome: What the merge does about them.
    """

    parent: str
    what: str
    detail: str
    outcome: str


def parent_differences(base: Parent, specialists: Mapping[str, Parent], recipe: Recipe) -> list[Difference]:
    """List everything in which opened specialists differ from the base, whether it hinders their merge or not.

    Args:
        base: As opened.
        specialists: As opened, by name.
        recipe: Decides about tokens, chat template and generation config.
    """
    try:
        origin, matched = match_tensors(base, specialists)
    except UserError:  # one of the conflicts of the merge
        origin, matched = base, dict(specialists)
    found = []
    for label, parent in specialists.items():
        rows = [
            *_tensors(base, parent, origin, matched[label], recipe),
            *_configs(base, parent),
            *_tokens(base, parent, recipe),
            *_chat(base, parent, recipe),
        ]
        found += [Difference(label, what, _first(lines), outcome) for what, lines, outcome in rows if lines]
    return found


Row = tuple[str, list[str], str]


def _tensors(base: Parent, parent: Parent, origin: Parent, matched: Parent, recipe: Recipe) -> Iterator[Row]:
    renamed = sorted(matched.table.keys() - parent.table.keys())
    yield "names", renamed, "matched by the rules of the model class"
    left = sorted((base.table.keys() - origin.table.keys()) | (parent.table.keys() - matched.table.keys()))
    if not renamed:
        yield "copies and buffers", left, "left out"
    pairs = Counter(
        (str(info.dtype).removeprefix("torch."), str(origin.table[name].dtype).removeprefix("torch."))
        for name, info in matched.table.items()
        if name in origin.table and info.dtype != origin.table[name].dtype and name not in matched.computed
    )
    lines = [f"{count} tensors are {theirs}, the base's {ours}" for (theirs, ours), count in pairs.items()]
    yield "dtype", lines, f"arithmetic in float32, written as {recipe.dtype or 'the base is'}"
    differing = tensor_differences(origin.table, matched.table, "the base", dtypes=False)
    by_token = recipe.tokenizer != "equal" and all("has shape" in line for line in differing)
    yield "tensors", differing, BY_TOKEN[recipe.tokenizer] if by_token else REFUSED


def _configs(base: Parent, parent: Parent) -> Iterator[Row]:
    yield "network", config_differences(base.config, parent.config), REFUSED
    lines = harmless_differences(base.config, parent.config)
    yield "config.json", lines, "the specialists' where they agree, else the base's"


def _tokens(base: Parent, parent: Parent, recipe: Recipe) -> Iterator[Row]:
    ours, theirs = read_vocabulary(base.path), read_vocabulary(parent.path)
    if ours is not None and theirs is not None:
        yield "tokens", vocabulary_differences(ours.ids, theirs.ids), BY_TOKEN[recipe.tokenizer]


def _chat(base: Parent, parent: Parent, recipe: Recipe) -> Iterator[Row]:
    default = "the base's" if recipe.tokenizer in ("base", "union") else "the specialists', which must agree"
    for what, lines in chat_differences(base.path, parent.path).items():
        named = recipe.generation_config if what == "generation configs" else recipe.template
        yield what, lines, default if named is None else f"that of {named}"


def _first(lines: list[str]) -> str:
    rest = len(lines) - SHOWN
    return "; ".join(lines[:SHOWN]) + (f" (and {rest} more)" if rest > 0 else "")
