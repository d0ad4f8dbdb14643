"""Tokenized rows of a training run: read, decontaminated, tokenized or loaded from the cache, and subsampled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig

from src.data.cache import token_table
from src.data.mixture import fraction_of
from src.data.options import DataOptions
from src.data.shards import Tokenization
from src.data.table import Part, TokenTable
from src.data.tokenize import LengthReport
from src.stages.build import build
from src.stages.checkpoints import OF_ONE_TASK
from src.stages.job import task_of
from src.stages.train.split_rows import SplitRows
from src.utils.errors import UserError
from src.utils.progress import say

Tables = dict[str, TokenTable]


def task_sources(cfg: DictConfig, data: str, split: str) -> dict[str, list[Any]]:
    """Build the sources by task: those of the strategy for training, those of every task for validation.

    Raises:
        UserError: A task has no sources for this `model.data`.
    """
    if cfg.strategy.name == "base":
        return {"base": [build(cfg.strategy.source)]}
    one = cfg.strategy.name in OF_ONE_TASK and split == "train"
    return sources_of(cfg, data, [task_of(cfg)] if one else list(cfg.tasks))


def sources_of(cfg: DictConfig, data: str, tasks: Sequence[str]) -> dict[str, list[Any]]:
    """Build the sources of tasks.

    Raises:
        UserError: A task has no sources for this `model.data`.
    """
    nodes = {str(name): cfg.tasks[name].sources[data].values() for name in tasks}
    found = {name: [build(node) for node in sources if node is not None] for name, sources in nodes.items()}
    empty = [name for name, sources in found.items() if not sources]
    if empty:
        raise UserError(f"tasks.{empty[0]}.sources.{data} is empty; expected the places of its training rows")
    return found


def monitored_sources(cfg: DictConfig, data: str) -> dict[str, list[Any]]:
    """Build the sources of the validation rows: of the trained tasks, and of others if their rows are at hand.

    The losses on other tasks show what a specialist forgets. They are no reason to refuse training on one's own rows,
    or to download data.
    """
    found = task_sources(cfg, data, "validation")
    trained = task_sources(cfg, data, "train")
    absent = [task for task, sources in found.items() if task not in trained and not all(map(_is_at_hand, sources))]
    for task in absent:
        say(f"no loss on {task} while training: its validation rows are not in files (tasks.{task}.sources.{data})")
    return {task: sources for task, sources in found.items() if task not in absent}


def _is_at_hand(source: Any) -> bool:
    is_local = getattr(source, "is_local", None)  # generated rows are
    return is_local is None or is_local("validation")


def training_tables(
    sources: Mapping[str, Sequence[Any]],
    split: str,
    tokenization: Tokenization,
    options: DataOptions,
    held_out: Mapping[str, Sequence[Any]] | None = None,
) -> tuple[Tables, dict[str, LengthReport]]:
    """Build the token tables by task, with counts of their truncated and dropped rows.

    Args:
        sources: By task.
        split: `train` or `validation`.
        tokenization: How rows become tokens.
        options: Cache, workers, limit, fraction and copies.
        held_out: Sources of validation rows by task, which training rows may not copy with `data.deduplicate`.

    Raises:
        UserError: A task has no rows, or they are malformed.
    """
    tables, reports = Tables(), dict[str, LengthReport]()
    for task, nodes in sources.items():
        rows = SplitRows(nodes, split, options, list((held_out or {}).values()))
        parts, counts = list[TokenTable](), list[LengthReport]()
        for group in rows.groups:
            table, report = token_table(
                partial(rows.of, group), tokenization, data_key=rows.key(group), workers=options.workers,
                cache=None if options.cache is None else Path(options.cache), label=f"{task} {split}",
            )  # fmt: skip
            parts.append(fraction_of(table, options.fraction, task, options.seed) if split == "train" else table)
            counts.append(report)
        tables[task] = parts[0] if rows.weights is None else _weighted(parts, rows.weights)
        reports[task] = sum(counts[1:], counts[0])
        if reports[task].changed:
            say(f"{task} {split}: {reports[task]} (limit {tokenization.max_length} tokens)")
    return tables, reports


def _weighted(tables: Sequence[TokenTable], weights: Sequence[float]) -> TokenTable:
    """One table of the tables of a task's sources, which is in memory."""
    parts = tuple(Part(len(table), weight) for table, weight in zip(tables, weights, strict=True))
    return replace(TokenTable.join(tables), parts=parts)


def token_cache(cache: str | None, output_root: str, data: str) -> str | None:
    """Directory of the token cache; None for the few pocket rows, which are faster to tokenize than to look up.

    Args:
        cache: Of `DataOptions`.
        output_root: Directory of all runs.
        data: `pocket` or `real`.
    """
    if cache != "auto":
        return cache
    return str(Path(output_root) / "cache" / "tokens") if data == "real" else None


def rows_as_text(tables: Tables, tokenizer: Any, rows: int = 20) -> pd.DataFrame:
    """The first training rows of each task as the model sees them, with special tokens.

    Args:
        tables: By task.
        tokenizer: Of the model.
        rows: Per task.
    """
    found = []
    for task, table in tables.items():
        for index in range(min(rows, len(table))):
            start, length, prompt = (int(part[index]) for part in (table.starts, table.lengths, table.prompts))
            tokens = table.tokens[start : start + length].tolist()
            texts = {"prompt": tokenizer.decode(tokens[:prompt]), "answer": tokenizer.decode(tokens[prompt:])}
            row = {"task": task, "row": table.ids[index], "tokens": length, "answer_tokens": length - prompt}
            found.append(row | texts)
    return pd.DataFrame(found)
