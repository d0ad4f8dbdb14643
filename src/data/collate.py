"""Rows -> the tensors of one forward pass.

A micro-batch is a dictionary: `inputs` are the arguments of the network; `targets`, `tasks` and `picked` (P) say what
is predicted, and where. Only columns that predict an answer token are projected onto the vocabulary, by
`logits_to_keep`.

B lines, T tokens of a line, C projected columns, P predicted tokens, N documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from src.data.table import IGNORED

Batch = dict[str, Any]  # a plain dict, because Lightning moves dicts to the device


@dataclass(frozen=True)
class Row:
    """A tokenized row.

    Args:
        task: Position of its task.
        tokens: Ids.
        labels: The same ids, -100 where there is no loss; the first token never has a label.
    """

    task: int
    tokens: NDArray[np.int32]
    labels: NDArray[np.int64]


def empty_row(pad_token: int) -> Row:
    """A row without loss: it keeps ranks in step if one has no rows left for its last micro-batch."""
    return Row(0, np.array([pad_token], np.int32), np.array([IGNORED]))


def padded_batch(lines: Sequence[Sequence[Row]], pad_token: int, packed: bool = False) -> Batch:
    """Stack lines, padded on the right to the longest.

    Args:
        lines: The rows of each line, one unless packed.
        pad_token: Token id of the padding.
        packed: Positions restart with each row, and the padding at the end of a line is its own document. From these
            positions, transformers blocks attention across rows. Unpacked rows need no mask: under causal attention
            they never see the padding after them.
    """
    width = max(sum(len(row.tokens) for row in line) for line in lines)
    ids = np.full((len(lines), width), pad_token, dtype=np.int64)
    labels = np.full((len(lines), width), IGNORED, dtype=np.int64)
    tasks = np.zeros((len(lines), width), dtype=np.int64)
    positions = np.zeros((len(lines), width), dtype=np.int64)
    for line, rows in enumerate(lines):
        place = 0
        for row in rows:
            here = slice(place, place + len(row.tokens))
            ids[line, here], labels[line, here], tasks[line, here] = row.tokens, row.labels, row.task
            positions[line, here] = np.arange(len(row.tokens))
            place = here.stop
        positions[line, place:] = np.arange(width - place)
    extra = {"position_ids": torch.from_numpy(positions)} if packed else {}
    return _batch(ids, labels, tasks, extra)


def flat_batch(rows: Sequence[Row]) -> Batch:
    """Join all rows end to end in one line without padding, with the boundaries that flash kernels take."""
    lengths = [len(row.tokens) for row in rows]
    borders = torch.tensor(np.cumsum([0, *lengths]), dtype=torch.int32)  # N + 1
    ids = np.concatenate([row.tokens for row in rows])[None].astype(np.int64)
    labels = np.concatenate([row.labels for row in rows])[None]
    tasks = np.repeat([row.task for row in rows], lengths)[None]
    positions = np.concatenate([np.arange(length) for length in lengths])[None]
    extra = {
        "position_ids": torch.from_numpy(positions),
        "cu_seq_lens_q": borders,
        "cu_seq_lens_k": borders,
        "max_length_q": max(lengths),
        "max_length_k": max(lengths),
    }
    return _batch(ids, labels, tasks, extra)


def _batch(ids: NDArray[np.int64], labels: NDArray[np.int64], tasks: NDArray[np.int64], extra: dict[str, Any]) -> Batch:
    """The micro-batch of (B, T) arrays: column t predicts the label of column t + 1."""
    wanted = labels[:, 1:] != IGNORED
    columns = np.flatnonzero(wanted.any(axis=0))  # C
    picked = wanted[:, columns]
    inputs = {"input_ids": torch.from_numpy(ids), "logits_to_keep": torch.from_numpy(columns), **extra}
    return {
        "inputs": inputs,
        "picked": torch.from_numpy(np.flatnonzero(picked)),  # P, in (B, C) flattened
        "targets": torch.from_numpy(labels[:, 1:][:, columns][picked]),
        "tasks": torch.from_numpy(tasks[:, 1:][:, columns][picked].astype(np.int64)),
    }
