"""Align parents whose vocabularies or numbers of embedding rows differ.

Legend: R rows of the merged embedding.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from src.checkpoints.model_class import rows_are_tokens
from src.merging.tensors.parent import Parent
from src.merging.tensors.row_views import ABSENT, NewRows, RowsOfOthers, RowView
from src.merging.tensors.tokenizer_json import Vocabulary, read_vocabulary, vocabulary_differences
from src.utils.errors import UserError, first_differences

ROWS = re.compile(r"(^|\.)(embed_tokens|wte|word_embeddings|lm_head|embed_out)\.(weight|bias)$")


@dataclass(frozen=True)
class Aligned:
    """Parents with one vocabulary.

    Args:
        base: Base.
        specialists: By name.
        rows: Number of embedding rows of the result; 0 in mode `equal`, which does not need it.
        added: Tokens that the base lacks, in id order (mode `union`).
        tall: Tensors whose rows are the vocabulary, if they were matched by token.
        own_rows: For the same, every specialist as it was and its (R,) own row of each merged row, or -1.
    """

    base: Parent
    specialists: dict[str, Parent]
    rows: int = 0
    added: tuple[str, ...] = ()
    tall: frozenset[str] = frozenset()
    own_rows: Mapping[str, tuple[Parent, torch.Tensor]] = field(default_factory=dict)

    def weighted(self, coefficients: Callable[[str], Sequence[float]] | None) -> Aligned:
        """The same parents, where a specialist's row of a token that it lacks is a mean by these coefficients.

        Args:
            coefficients: Of the specialists, by tensor; None counts all alike, which is the same with two.
        """
        if not self.own_rows:
            return self
        parents = {label: parent for label, (parent, _) in self.own_rows.items()}
        rows = {label: own for label, (_, own) in self.own_rows.items()}
        stand_in = RowsOfOthers(self.base, parents, rows, coefficients)
        views = {label: RowView(parent, rows[label], stand_in, 0, self.tall) for label, parent in parents.items()}
        return replace(self, specialists=dict(views))


def align_vocabulary(base: Parent, specialists: Mapping[str, Parent], mode: str) -> Aligned:
    """Give all parents one vocabulary.

    Args:
        base: Its row order is kept in the result.
        specialists: By name.
        mode: `equal`: change nothing; `check_parents` refuses parents that differ. `shared`: equal tokens, embeddings
            padded to different heights; rows that all parents have are merged, the rest are the base's. `base`: the
            base's tokens; a specialist's rows are matched by token, and it has no say on a token that it lacks: its
            row there is the mean of those that have the token (see `Aligned.weighted`), or the base's where none has
            it. `union`: also the tokens that the base lacks, appended; their base row is the mean over the specialists
            that have them.

    Raises:
        UserError: Tokens differ in mode `shared`, a parent has no tokenizer, or a tensor may or may not be of the
            vocabulary.
    """
    if mode == "equal":
        return Aligned(base, dict(specialists))
    tall = _tall(base)
    vocabularies = {label: _vocabulary(label, parent, tall) for label, parent in specialists.items()}
    ours = _vocabulary("base", base, tall)
    if mode == "shared":
        _require_equal_tokens(ours, vocabularies)
    added = _added(ours, vocabularies) if mode == "union" else ()
    height = _height(base, tall)
    origin: Parent = base
    tokens = {**ours.ids, **{token: ours.size + index for index, token in enumerate(added)}}
    if added:
        height = max(height, ours.size + len(added))
        fill = NewRows(specialists, vocabularies, added)
        origin = RowView(base, _rows(ours.ids, tokens, height, keep_padding=True), fill, ours.size, tall)
    rows = {
        label: (parent, _rows(vocabularies[label].ids, tokens, height, keep_padding=False))
        for label, parent in specialists.items()
    }
    return Aligned(origin, dict(specialists), height, added, tall, rows).weighted(None)


def _require_equal_tokens(ours: Vocabulary, vocabularies: Mapping[str, Vocabulary]) -> None:
    for label, theirs in vocabularies.items():
        if differences := vocabulary_differences(ours.ids, theirs.ids):
            raise UserError(first_differences(f"merge.tokenizer=shared, but {label} has different tokens", differences))


def _tall(base: Parent) -> frozenset[str]:
    """Tensors whose rows are the vocabulary, by the model class; those that it does not have, by their names.

    Raises:
        UserError: The class does not have a tensor that is as tall as the embedding and has a strange name.
    """
    known = rows_are_tokens(base.config, base.names)
    named = frozenset(name for name in base.names if known.get(name, bool(ROWS.search(name))))
    heights = {base.table[name].shape[0] for name in named}
    others = [name for name in base.names if name not in named and name not in known]
    strange = [name for name in others if base.table[name].shape[:1] and base.table[name].shape[0] in heights]
    if strange or not named:
        what = "these tensors are of the vocabulary" if strange else "any tensor is of the vocabulary"
        message = f"{base.path}: the model class is unknown here or lacks tensors, so nothing says whether {what}"
        raise UserError(first_differences(message, strange or list(base.names)) + "; set merge.tokenizer=equal")
    return named


def _vocabulary(label: str, parent: Parent, tall: frozenset[str]) -> Vocabulary:
    found = read_vocabulary(parent.path)
    if found is None:
        raise UserError(f"{parent.path} ({label}) has no tokenizer.json to match tokens by; set merge.tokenizer=equal")
    for name, info in parent.table.items():
        if name in tall and info.shape[0] < found.size:
            rows = f"{info.shape[0]} rows, expected at least {found.size} (one per token)"
            raise UserError(f"{parent.path} ({label}): {name} has {rows}")
    return found


def _added(ours: Vocabulary, others: Mapping[str, Vocabulary]) -> tuple[str, ...]:
    new: dict[str, None] = {}
    for vocabulary in others.values():
        for token in sorted(vocabulary.ids, key=vocabulary.ids.__getitem__):
            if token not in ours.ids:
                new[token] = None
    return tuple(new)


def _height(base: Parent, tall: frozenset[str]) -> int:
    heights = {base.table[name].shape[0] for name in tall}
    if len(heights) != 1:
        raise UserError(f"{base.path}: expected one number of embedding rows, got {sorted(heights)}")
    return heights.pop()


def _rows(own: Mapping[str, int], tokens: Mapping[str, int], height: int, keep_padding: bool) -> torch.Tensor:
    rows = torch.arange(height) if keep_padding else torch.full((height,), ABSENT)
    for token, place in tokens.items():
        rows[place] = own.get(token, ABSENT)
    return rows
