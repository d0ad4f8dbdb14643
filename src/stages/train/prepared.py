"""Everything about the rows of a training run that is known before its network is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from src.data.shards import Tokenization
from src.data.tokenize import LengthReport
from src.models import ModelSpec, load_tokenizer
from src.stages.job import Job
from src.stages.train.decontamination import Decontamination
from src.stages.train.options import TrainingOptions
from src.stages.train.rows import Tables, monitored_sources, token_cache, training_tables


@dataclass(frozen=True)
class PreparedRows:
    """Tokenized rows of a run.

    Args:
        tokenizer: With its chat template and end token set.
        train: Rows to train on, by task.
        validation: Rows to validate on, by task.
        train_counts: Rows of each task that were truncated, dropped or left out.
        validation_counts: The same for validation.
    """

    tokenizer: PreTrainedTokenizerBase
    train: Tables
    validation: Tables
    train_counts: Mapping[str, LengthReport]
    validation_counts: Mapping[str, LengthReport]


def prepare_rows(
    job: Job, model: ModelSpec, sources: Mapping[str, Sequence[Any]], origin: Path, options: TrainingOptions
) -> PreparedRows:
    """Read, filter and tokenize the rows of a run, or open their tables in the cache.

    Args:
        job: The run.
        model: Its model.
        sources: Of the training rows, by task.
        origin: Checkpoint with the tokenizer, unless `model.tokenizer` names another; its weights are not read.
        options: Settings of the run.

    Raises:
        UserError: A task has no rows, rows are malformed, or the tokenizer does not fit them.
    """
    cfg, fit = job.cfg, options.fit
    tokenizer = load_tokenizer(
        model.tokenizer or origin, revision=model.revision, chat_template=model.chat_template, eos_token=model.eos_token
    )
    tokenization = Tokenization(tokenizer, fit.batches.max_length, cfg.strategy.truncation)
    data = replace(options.data, cache=token_cache(options.data.cache, cfg.output_root, model.data))
    clean = replace(tokenization, keep=Decontamination(job)) if data.decontaminate else tokenization
    monitored = monitored_sources(cfg, model.data)
    train, counts = training_tables(sources, "train", clean, data, monitored)
    held_out, held_out_counts = training_tables(monitored, "validation", tokenization, data)
    return PreparedRows(tokenizer, train, held_out, counts, held_out_counts)
