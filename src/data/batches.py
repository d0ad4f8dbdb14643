"""Global batches: one item is everything that an optimizer step consumes on this rank.

The loss is normalized over the whole step, so its rows can be divided over micro-batches freely: sorted by length,
which saves padding, or packed end to end, which needs none. Neither changes the gradient.

B lines of a micro-batch, T tokens of a line, C columns that predict something, P predicted tokens, N documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.data.collate import Batch, Row, empty_row, flat_batch, padded_batch
from src.data.mixture import Mixture
from src.data.packing import pack
from src.data.table import IGNORED, TokenTable

__all__ = ["Batch", "HeldOutRows", "Layout", "StepBatches", "held_out_rows", "sorted_groups", "validation_batches"]


@dataclass(frozen=True)
class Layout:
    """Division of the rows of a step into micro-batches.

    Args:
        micro_batch: Lines of one forward pass: rows, or packs.
        packing: Whether rows share a line.
        max_length: Tokens of a pack.
        flat: Whether the packs of a micro-batch are joined end to end in one line, the form that variable-length
            kernels take; otherwise each is a line, padded to the longest.
        world: Ranks.
        rank: This rank.
    """

    micro_batch: int
    packing: bool = False
    max_length: int = 0
    flat: bool = True
    world: int = 1
    rank: int = 0


class StepBatches:
    """The global batches of a training run; item `k` is step `k` (from 0).

    Args:
        mixture: Order of the rows.
        starts: Stream position of each step's first row, then the end (see `src.data.budget.step_starts`).
        layout: Division of a step.
        pad_token: Token id of the padding.
    """

    def __init__(self, mixture: Mixture, starts: NDArray[np.int64], layout: Layout, pad_token: int) -> None:
        self.mixture, self.starts, self.layout, self.pad_token = mixture, starts, layout, pad_token

    def __len__(self) -> int:
        return len(self.starts) - 1

    def rows(self, step: int) -> list[tuple[int, int]]:
        """Task position and table row of all rows of a step, over all ranks."""
        stream = self.mixture.stream(int(self.starts[step]), int(self.starts[step + 1]))
        return [self.mixture.locate(int(row)) for row in stream]

    def row_names(self, step: int) -> list[str]:
        """`task/id` of all rows of a step, for messages."""
        return [f"{self.mixture.tasks[task]}/{self.mixture.tables[task].ids[row]}" for task, row in self.rows(step)]

    def __getitem__(self, step: int) -> Batch:
        """Build this rank's part of a step: `micro` (list of micro-batches), and counts over all ranks.

        Returns:
            `micro`, `answer_tokens`, `task_tokens` (answer tokens per task), `tokens`, `padded` (tokens including
            padding) and `squares` (sum of squared row lengths, the cost of attention).
        """
        rows = [Row(task, *self.mixture.tables[task].row(row)) for task, row in self.rows(step)]
        lengths = [len(row.tokens) for row in rows]
        answers = [int((row.labels != IGNORED).sum()) for row in rows]
        by_task = np.bincount([row.task for row in rows], weights=answers, minlength=len(self.mixture.tasks))
        plan = micro_batches(lengths, self.layout)
        return {
            "micro": [_collate(lines, rows, self.layout, self.pad_token) for lines in plan[self.layout.rank]],
            "answer_tokens": sum(answers),
            "task_tokens": by_task.astype(int).tolist(),
            "tokens": sum(lengths),
            "padded": sum(_size(lines, lengths, self.layout) for rank in plan for lines in rank),
            "squares": sum(length * length for length in lengths),
        }


Lines = list[list[int]]  # of a micro-batch: the rows of each line


def micro_batches(lengths: Sequence[int], layout: Layout) -> list[list[Lines]]:
    """Divide rows over ranks and micro-batches; every rank gets the same number of micro-batches.

    Args:
        lengths: Tokens of each row.
        layout: Ranks, lines per micro-batch, packing.

    Returns:
        For each rank its micro-batches, each a list of lines, each a list of row numbers.
    """
    world, size = layout.world, layout.micro_batch
    if not layout.packing:
        count = -(-len(lengths) // (size * world)) * world
        groups = [[[row] for row in rows] for rows in sorted_groups(lengths, count)]
        return [groups[rank::world] for rank in range(world)]
    packs = pack(lengths, layout.max_length, world)
    return [_chunks(packs[rank::world], size) for rank in range(world)]


def sorted_groups(lengths: Sequence[int], count: int) -> list[list[int]]:
    """Sort positions by length (stable) and cut them into `count` runs of nearly equal size."""
    order = np.argsort(np.asarray(lengths), kind="stable")
    return [part.tolist() for part in np.array_split(order, count)]


def validation_batches(table: TokenTable, layout: Layout, pad_token: int, task: int = 0) -> list[Batch]:
    """All rows of a table in this rank's micro-batches; every rank gets the same number."""
    plan = micro_batches(table.lengths.tolist(), layout)[layout.rank]
    names = {row for lines in plan for line in lines for row in line}
    rows = {row: Row(task, *table.row(row)) for row in names}
    return [_collate(lines, rows, layout, pad_token) for lines in plan]


@dataclass(frozen=True)
class HeldOutRows:
    """Rows of a task, tokenized and collated once, for the losses of many networks.

    Args:
        ids: Name of each row (N).
        answer_tokens: int64 (N), predicted tokens of each row.
        batches: Micro-batches.
        order: Row numbers of each micro-batch, in the order of its predicted tokens.
    """

    ids: Sequence[str]
    answer_tokens: NDArray[np.int64]
    batches: Sequence[Batch]
    order: Sequence[NDArray[np.int64]]


def held_out_rows(table: TokenTable, micro_batch: int, pad_token: int) -> HeldOutRows:
    """All rows of a table, unpacked, as training validates them on one rank."""
    layout = Layout(micro_batch)
    [plan] = micro_batches(table.lengths.tolist(), layout)
    order = [np.array([row for line in lines for row in line], dtype=np.int64) for lines in plan]
    return HeldOutRows(table.ids, table.answer_lengths, validation_batches(table, layout, pad_token), order)


def _collate(lines: Lines, rows: Any, layout: Layout, pad_token: int) -> Batch:
    documents = [[rows[row] for row in line] for line in lines if line] or [[empty_row(pad_token)]]
    if layout.packing and layout.flat:
        return flat_batch([row for line in documents for row in line])
    return padded_batch(documents, pad_token, packed=layout.packing)


def _size(lines: Lines, lengths: Sequence[int], layout: Layout) -> int:
    sizes = [sum(lengths[row] for row in line) for line in lines if line]
    if layout.packing and layout.flat:
        return sum(sizes)
    return len(sizes) * max(sizes, default=0)


def _chunks(packs: list[list[int]], size: int) -> list[Lines]:
    return [packs[start : start + size] for start in range(0, len(packs), size)]
