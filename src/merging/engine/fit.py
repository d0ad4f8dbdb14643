"""Two checkpoints side by side: what they share, and how they could be merged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from src.checkpoints.compat import tensor_differences
from src.checkpoints.configs import config_differences
from src.merging.engine.chat_files import chat_conflicts, chat_differences
from src.merging.engine.check_parents import UNRELATED, cosine, sampled_names, sampled_weights
from src.merging.engine.preflight import merge_conflicts
from src.merging.methods.task_vectors import WeightedMean
from src.merging.recipe import Recipe
from src.merging.tensors.matching import match_tensors
from src.merging.tensors.parent import Parent
from src.merging.tensors.tokenizer_json import read_vocabulary
from src.utils.errors import UserError

Mode = Literal["equal", "shared", "base", "union"]
MODES: tuple[Mode, ...] = ("equal", "shared", "union")  # base fits where union does
LINEAR = Recipe("src.merging.registry.linear", lambda keys: WeightedMean(keys["normalize"]), (("normalize", True),))


@dataclass(frozen=True)
class Fit:
    """Two checkpoints side by side.

    Args:
        network: Fields of the configs that change the forward pass and differ.
        tensors: Names and shapes that differ after matching.
        tokens: Numbers of tokens that only one side has, and that have another id; None if a side has no tokenizer.
        chat: Kinds of chat files that differ.
        likeness: Cosine of sampled weights; None if the tensors differ.
        mode: First of MODES under which they merge; None if there is none.
    """

    network: list[str]
    tensors: list[str]
    tokens: tuple[int, int, int] | None
    chat: list[str]
    likeness: float | None
    mode: Mode | None

    @property
    def are_related(self) -> bool:
        """True if the weights share an origin."""
        return self.likeness is not None and self.likeness >= UNRELATED


def compare_pair(left: Parent, right: Parent) -> Fit:
    """Compare two opened checkpoints."""
    try:
        ours, matched = match_tensors(left, {"": right})
        theirs = matched[""]
    except UserError:  # a head that differs from the embedding it is tied to
        ours, theirs = left, right
    return Fit(
        network=config_differences(left.config, right.config),
        tensors=tensor_differences(ours.table, theirs.table, "the first", dtypes=False),
        tokens=_tokens(left, right),
        chat=list(chat_differences(left.path, right.path)),
        likeness=_likeness(ours, theirs),
        mode=working_mode(left, {"other": right}),
    )


def working_mode(base: Parent, specialists: Mapping[str, Parent]) -> Mode | None:
    """First mode of `merge.tokenizer` under which the parents merge, whatever their chat files; None if none does."""
    for mode in MODES:
        recipe = replace(LINEAR, tokenizer=mode, template="base", generation_config="base")
        if next(merge_conflicts(base, specialists, recipe), None) is None:
            return mode
    return None


def open_choices(base: Parent, specialists: Mapping[str, Parent], mode: Mode) -> list[str]:
    """Keys that have to say whose chat files a merge gets, because the specialists differ."""
    places = {label: parent.path for label, parent in specialists.items()}
    recipes = {
        "template": replace(LINEAR, tokenizer=mode, generation_config="base"),
        "generation_config": replace(LINEAR, tokenizer=mode, template="base"),
    }
    return [f"merge.{key}" for key, recipe in recipes.items() if any(chat_conflicts(base.path, places, recipe))]


def _tokens(left: Parent, right: Parent) -> tuple[int, int, int] | None:
    ours, theirs = read_vocabulary(left.path), read_vocabulary(right.path)
    if ours is None or theirs is None:
        return None
    shared = ours.ids.keys() & theirs.ids.keys()
    moved = sum(ours.ids[token] != theirs.ids[token] for token in shared)
    return len(ours.ids) - len(shared), len(theirs.ids) - len(shared), moved


def _likeness(left: Parent, right: Parent) -> float | None:
    names = [
        name
        for name in sampled_names(left)
        if name in right.table and right.table[name].shape[1:] == left.table[name].shape[1:]
    ]
    if not names:
        return None
    ours, theirs = sampled_weights(left, names), sampled_weights(right, names)
    return cosine(ours, theirs) if ours.shape == theirs.shape else None
