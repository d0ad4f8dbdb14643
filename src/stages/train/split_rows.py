"""Rows of one task and split, as a whole or by source, read once and only if a table is not in the cache."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from src.data.copies import without_copies_of_others
from src.data.examples import Examples, join
from src.data.options import DataOptions
from src.utils.files import sha256_json

Group = Sequence[int]  # numbers of sources


def source_rows(sources: Sequence[Any], split: str) -> Examples:
    """All rows of a task."""
    return join(source.examples(split) for source in sources)


class SplitRows:
    """Rows of a task's sources, without copies if the options say so.

    Args:
        sources: Of the task.
        split: `train` or `validation`.
        options: Limit, and what becomes of copies.
        held_out: Sources of validation rows, task by task, which training rows may not copy.
    """

    def __init__(
        self, sources: Sequence[Any], split: str, options: DataOptions, held_out: Sequence[Sequence[Any]]
    ) -> None:
        self._sources, self._split, self._options = sources, split, options
        clean = split == "train" and options.deduplicate is not None
        self._held_out = [source for one in held_out for source in one] if clean else []
        self._clean = clean

    @property
    def weights(self) -> list[float] | None:
        """The weights of the sources; None: all are 1, or this is no training split."""
        weights = [getattr(source, "weight", 1.0) for source in self._sources]
        return None if self._split != "train" or set(weights) == {1.0} else weights

    @property
    def groups(self) -> list[Group]:
        """Sources whose rows share a table: all of them, or each alone if they have weights."""
        numbers = range(len(self._sources))
        return [numbers] if self.weights is None else [[number] for number in numbers]

    def of(self, group: Group) -> Examples:
        """Rows of a group, at most `limit`, evenly spaced so that every source is represented."""
        rows = join(self._by_source[number] for number in group)
        limit = self._options.limit
        if limit is None or len(rows) <= limit:
            return rows
        return Examples([rows[number * len(rows) // limit] for number in range(limit)], rows.left_out)

    def key(self, group: Group) -> str | None:
        """Hash the inputs of the rows of a group, if all sources can do so without reading rows."""
        used = self._sources if self._clean else [self._sources[number] for number in group]  # copies cross sources
        if not all(hasattr(source, "fingerprint") for source in (*used, *self._held_out)):
            return None
        parts = [source.fingerprint(self._split) for source in used]
        others = [source.fingerprint("validation") for source in self._held_out]
        copies = [self._options.deduplicate, self._options.near, list(group), *others] if self._clean else []
        return sha256_json([*parts, self._options.limit, *copies])

    @cached_property
    def _by_source(self) -> list[Examples]:
        rows = [source_rows([source], self._split) for source in self._sources]
        if not self._clean:
            return rows
        return without_copies_of_others(rows, self._options.near, source_rows(self._held_out, "validation"))
