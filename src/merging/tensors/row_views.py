"""Parents with the rows of one merged vocabulary.

Legend: R rows of the merged embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch

from src.checkpoints import TensorInfo
from src.merging.tensors.lora_factors import Factors, factors_of
from src.merging.tensors.parent import Parent
from src.merging.tensors.tokenizer_json import Vocabulary

ABSENT = -1
ZERO_SUM = 1e-6  # of the sum of their sizes: coefficients that cancel


class RowView:
    """A parent with reordered embedding rows; rows that it lacks come from another parent.

    Args:
        parent: Parent whose rows are reordered.
        rows: (R,) own row of each merged row, or -1.
        missing: Parent that supplies the missing rows.
        offset: Merged row that is row 0 of `missing`.
        tall: Tensors whose rows are the vocabulary.
    """

    def __init__(
        self, parent: Parent, rows: torch.Tensor, missing: NewRows | RowsOfOthers, offset: int, tall: frozenset[str]
    ) -> None:
        self.parent = parent
        self.path = parent.path
        self.computed = parent.computed
        self._rows = rows
        self._missing = missing
        self._offset = offset
        self._tall = tall

    @property
    def names(self) -> tuple[str, ...]:
        """The parent's names."""
        return self.parent.names

    @property
    def tied(self) -> bool:
        """The parent's."""
        return self.parent.tied

    @property
    def config(self) -> Mapping[str, Any]:
        """The parent's config, with the merged vocabulary's size."""
        return {**self.parent.config, "vocab_size": len(self._rows)}

    @cached_property
    def table(self) -> Mapping[str, TensorInfo]:
        """The parent's table, with the merged number of embedding rows."""
        return {
            name: TensorInfo((len(self._rows), *info.shape[1:]), info.dtype) if name in self._tall else info
            for name, info in self.parent.table.items()
        }

    def tensor(self, name: str) -> torch.Tensor:
        """One tensor."""
        info = self.table[name]
        return self.flat(name, 0, info.numel).reshape(info.shape)

    def factors(self, name: str) -> Factors | None:
        """See `LowRank.factors`; tensors with reordered rows are given only as a whole."""
        return None if name in self._tall else factors_of(self.parent, name)

    def flat(self, name: str, start: int, stop: int) -> torch.Tensor:
        """Elements [start, stop) of a tensor, one-dimensional."""
        if name not in self._tall:
            return self.parent.flat(name, start, stop)
        width = self.table[name].numel // len(self._rows)
        first, last = start // width, -(-stop // width)
        runs = [self._run(name, width, *run) for run in _runs(self._rows[first:last], first)]
        return torch.cat(runs)[start - first * width : stop - first * width]

    def read_into(self, name: str, start: int, out: torch.Tensor) -> None:
        """Copy elements [start, start + len(out)) into `out`."""
        out.copy_(self.flat(name, start, start + out.numel()))

    def prefetch(self, name: str) -> None:
        """Start reading a tensor that will be needed soon."""
        self.parent.prefetch(name)

    def _run(self, name: str, width: int, merged: int, own: int, count: int) -> torch.Tensor:
        if own != ABSENT:
            return self.parent.flat(name, own * width, (own + count) * width)
        first = merged - self._offset
        values = self._missing.flat(name, first * width, (first + count) * width)
        return values.to(self.table[name].dtype)


class RowsOfOthers:
    """Rows of tokens that a specialist lacks: the mean over the specialists that have them, or the base's.

    Args:
        base: Has a row for every token.
        specialists: By name.
        rows: (R,) own row of each merged row by specialist, or -1.
        coefficients: Of the mean, by tensor; None counts all alike.
    """

    def __init__(
        self,
        base: Parent,
        specialists: Mapping[str, Parent],
        rows: Mapping[str, torch.Tensor],
        coefficients: Callable[[str], Sequence[float]] | None,
    ) -> None:
        self._base = base
        self._parents = [(parent, rows[label]) for label, parent in specialists.items()]
        self._coefficients = coefficients or (lambda name: [1.0] * len(specialists))
        self._owned = torch.stack([rows[label] != ABSENT for label in specialists]).any(dim=0)

    def flat(self, name: str, start: int, stop: int) -> torch.Tensor:
        """Elements [start, stop) of the merged tensor, whole rows, one-dimensional."""
        info = self._base.table[name]
        width = info.numel // info.shape[0]
        found = self._base.flat(name, start, stop).reshape(-1, width)
        first = start // width
        owned = self._owned[first : first + len(found)].nonzero().reshape(-1).tolist()
        for place in owned:
            found[place] = self._mean(name, width, first + place)
        return found.reshape(-1)

    def _mean(self, name: str, width: int, row: int) -> torch.Tensor:
        parents = zip(self._parents, self._coefficients(name), strict=True)
        having = [(parent, int(rows[row]), weight) for (parent, rows), weight in parents if rows[row] != ABSENT]
        values = torch.stack([parent.flat(name, own * width, (own + 1) * width).float() for parent, own, _ in having])
        weights = torch.tensor([weight for *_, weight in having], dtype=torch.float64)
        if len(having) == 1 or weights.sum().abs() < ZERO_SUM * weights.abs().sum():
            return values.mean(dim=0)
        return ((weights / weights.sum())[:, None] * values).sum(dim=0).float()


class NewRows:
    """Rows of tokens that the base lacks: the mean over the specialists that have them.

    Args:
        specialists: By name.
        vocabularies: Vocabularies of the specialists.
        tokens: The new tokens, in the order of their rows.
    """

    def __init__(
        self, specialists: Mapping[str, Parent], vocabularies: Mapping[str, Vocabulary], tokens: tuple[str, ...]
    ) -> None:
        places = [(parent, vocabularies[label].ids) for label, parent in specialists.items()]
        self._owners = [[(parent, ids[token]) for parent, ids in places if token in ids] for token in tokens]
        self._made: dict[str, torch.Tensor] = {}

    def flat(self, name: str, start: int, stop: int) -> torch.Tensor:
        """Elements [start, stop) of the new rows, float32, one-dimensional; rows beyond them (padding) are 0."""
        if name not in self._made:
            self._made[name] = self._make(name)
        rows = self._made[name]
        beyond = max(0, stop - rows.numel())
        return torch.nn.functional.pad(rows, (0, beyond))[start:stop]

    def _make(self, name: str) -> torch.Tensor:
        means = []
        for owners in self._owners:
            rows = []
            for parent, row in owners:
                info = parent.table[name]
                width = info.numel // info.shape[0]
                rows.append(parent.flat(name, row * width, (row + 1) * width).float())
            means.append(torch.stack(rows).mean(dim=0))
        return torch.cat(means)


def _runs(rows: torch.Tensor, first: int) -> list[tuple[int, int, int]]:
    """Runs of rows that are consecutive on both sides: (merged row, own row or -1, length)."""
    runs: list[tuple[int, int, int]] = []
    for place, own in enumerate(rows.tolist(), first):
        if runs:
            start, source, count = runs[-1]
            if own == (ABSENT if source == ABSENT else source + count):
                runs[-1] = (start, source, count + 1)
                continue
        runs.append((place, own, 1))
    return runs
