"""Global batches: one item is all that an optimiser step consumes on this rank.

Rows are sorted by length inside the global batch and then cut into micro-batches. Since the loss is normalised over
the whole global batch, this saves padding without changing what is learnt, unlike grouping across batches.

B rows of a micro-batch, T tokens of its longest row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from src.data.mixture import Mixture
from src.data.table import IGNORED, TokenTable

Row = tuple[NDArray[np.int32], NDArray[np.int64]]
Batch = dict[str, Any]  # a plain dict, since Lightning moves those to the device


@dataclass(frozen=True)
class BatchShape:
    """How a global batch is divided.

    Args:
        micro_batch: Rows of one forward pass.
        accumulation: Forward passes of one rank in one optimiser step.
        world: Ranks.
        rank: This rank.
    """

    micro_batch: int
    accumulation: int = 1
    world: int = 1
    rank: int = 0

    @property
    def rows(self) -> int:
        """Rows of a global batch."""
        return self.micro_batch * self.accumulation * self.world


class StepBatches:
    """The global batches of a training run, `len` of them; item `k` is step `k` (from 0).

    Args:
        mixture: Order of the rows.
        shape: Division of a global batch.
        steps: Optimiser steps; None: as many as `epochs` take, of which the last may be smaller.
        epochs: Passes over the mixture, where `steps` is None.
        pad_token: Id written where a row is over.
    """

    def __init__(
        self, mixture: Mixture, shape: BatchShape, steps: int | None, epochs: float | None, pad_token: int
    ) -> None:
        assert (steps is None) != (epochs is None)
        self.mixture, self.shape, self.pad_token = mixture, shape, pad_token
        total = steps * shape.rows if steps is not None else round((epochs or 0) * len(mixture))
        self.total_rows = total
        self.steps = -(-total // shape.rows)

    def __len__(self) -> int:
        return self.steps

    def rows(self, step: int) -> list[tuple[int, int]]:
        """Task position and table row of all rows of a step, over all ranks."""
        start = step * self.shape.rows
        stop = min(start + self.shape.rows, self.total_rows)
        return [self.mixture.locate(int(row)) for row in self.mixture.stream(start, stop)]

    def row_names(self, step: int) -> list[str]:
        """`task/id` of all rows of a step, for messages."""
        return [f"{self.mixture.tasks[task]}/{self.mixture.tables[task].ids[row]}" for task, row in self.rows(step)]

    def __getitem__(self, step: int) -> Batch:
        """This rank's part of a step: `micro` (list), `answer_tokens`, `tokens` and `padded` over all ranks."""
        pairs = [self.mixture.tables[task].row(row) for task, row in self.rows(step)]
        groups = sorted_groups([len(tokens) for tokens, _ in pairs], self.shape.accumulation * self.shape.world)
        mine = groups[self.shape.rank :: self.shape.world]
        return {
            "micro": [
                collate([pairs[index] for index in group] or [_empty(pairs[0])], self.pad_token) for group in mine
            ],
            "answer_tokens": sum(int((labels != IGNORED).sum()) for _, labels in pairs),
            "tokens": sum(len(tokens) for tokens, _ in pairs),
            "padded": sum(len(group) * max(len(pairs[index][0]) for index in group) for group in groups if group),
        }


def validation_batches(table: TokenTable, shape: BatchShape, pad_token: int) -> list[Batch]:
    """All rows of a table in micro-batches of like length; each rank gets the same number of batches."""
    count = -(-len(table) // (shape.micro_batch * shape.world)) * shape.world
    groups = sorted_groups(table.lengths.tolist(), count)[shape.rank :: shape.world]
    return [collate([table.row(index) for index in group] or [_empty(table.row(0))], pad_token) for group in groups]


def sorted_groups(lengths: Sequence[int], count: int) -> list[list[int]]:
    """Positions in the order of their length (equal ones stay in order), cut into `count` runs of like size."""
    order = np.argsort(np.asarray(lengths), kind="stable")
    return [part.tolist() for part in np.array_split(order, count)]


def collate(rows: Sequence[Row], pad_token: int) -> Batch:
    """Pad rows on the right to the longest one.

    No attention mask is needed: under causal attention a row's tokens never see the padding after them.

    Args:
        rows: Token ids and labels of each row.
        pad_token: Id written after a row's end; its label is -100.

    Returns:
        `input_ids` and `labels`, int64 (B, T), and `first`, the earliest position with a label (T if none has).
    """
    width = max(len(tokens) for tokens, _ in rows)
    input_ids = np.full((len(rows), width), pad_token, dtype=np.int64)
    labels = np.full((len(rows), width), IGNORED, dtype=np.int64)
    for line, (tokens, targets) in enumerate(rows):
        input_ids[line, : len(tokens)] = tokens
        labels[line, : len(tokens)] = targets
    used = (labels != IGNORED).any(axis=0)
    first = int(used.argmax()) if used.any() else width
    return {"input_ids": torch.from_numpy(input_ids), "labels": torch.from_numpy(labels), "first": first}


def _empty(row: Row) -> Row:
    """A row without loss: it keeps ranks in step where a last batch has too few rows."""
    tokens, labels = row
    return tokens[:2], np.full_like(labels[:2], IGNORED)
