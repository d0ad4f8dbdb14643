"""In which order the rows of one or more tasks are trained on.

The order is a function of (seed, epoch) and of the number of rows alone: it needs no state to be resumed and is the
same on any number of ranks.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from src.data.table import TokenTable
from src.utils.seeding import derive_seed

Rows = NDArray[np.int64]


class Mixture:
    """Concatenation of tasks: all rows of all tasks, each once an epoch, in natural proportions.

    Args:
        tables: Rows by task name; the order of the names matters for the row numbers.
        seed: Seed of the shuffle.
    """

    def __init__(self, tables: Mapping[str, TokenTable], seed: int) -> None:
        self.tasks = tuple(tables)
        self.tables = tuple(tables.values())
        self.seed = seed
        self._offsets = np.cumsum([0, *(len(table) for table in self.tables)])
        self._epoch: tuple[int, Rows] | None = None

    def __len__(self) -> int:
        return int(self._offsets[-1])

    def locate(self, row: int) -> tuple[int, int]:
        """Position of the task of a row, and the row's place in that task's table."""
        task = int(np.searchsorted(self._offsets, row, side="right")) - 1
        return task, row - int(self._offsets[task])

    def epoch(self, number: int) -> Rows:
        """All row numbers in the order of an epoch, int64 (N)."""
        if self._epoch is None or self._epoch[0] != number:
            generator = np.random.Generator(np.random.PCG64(derive_seed("order", self.seed, number)))
            self._epoch = number, generator.permutation(len(self))
        return self._epoch[1]

    def stream(self, start: int, stop: int) -> Rows:
        """Rows `start` to `stop` of the endless sequence epoch 0, epoch 1, ..."""
        parts, size = [], len(self)
        while start < stop:
            epoch, first = divmod(start, size)
            parts.append(self.epoch(epoch)[first : first + stop - start])
            start += len(parts[-1])
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)
