"""Losses of a checkpoint's answers on validation rows: `evaluate.py benchmark=nll`."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from omegaconf import DictConfig
from transformers import PreTrainedTokenizerBase

from src.config.checks import is_served
from src.data.batches import HeldOutRows, held_out_rows
from src.data.options import DataOptions
from src.data.shards import Tokenization
from src.evaluation.benchmarks.base import check_split
from src.evaluation.benchmarks.loss import LossBenchmark
from src.evaluation.generators.hf import HFGenerator
from src.evaluation.statistics.scores import Score
from src.lit_modules.heldout import row_losses
from src.runs.record import Run
from src.stages.train.rows import token_cache, training_tables
from src.utils.errors import UserError
from src.utils.progress import track


def measures_losses(cfg: DictConfig) -> bool:
    """Return True if `benchmark=` is a loss of rows instead of a score of answers."""
    return cfg.benchmark is not None and "sources" in cfg.benchmark


def check_losses(cfg: DictConfig) -> None:
    """Check that a loss can be measured: it needs a network in this process, and there are no answers.

    Raises:
        UserError: With every problem found.
    """
    check_split(str(cfg.benchmark.name), cfg.split, list(cfg.benchmark.splits))
    problems = [f"{key}= is scored by other benchmarks" for key in ("samples", "predictions") if cfg[key] is not None]
    problems += ["contamination= is for other benchmarks"] if cfg.contamination is not None else []
    problems += ["formats= are for other benchmarks"] if cfg.formats else []
    problems += ["a server (generator=openai) gives no losses of given answers"] if is_served(cfg) else []
    if problems:
        raise UserError(f"benchmark={cfg.benchmark.name} measures losses of checkpoint=DIR; {'; '.join(problems)}")


def measure_losses(
    cfg: DictConfig, generator: object, benchmarks: Mapping[str, LossBenchmark], run: Run
) -> list[Score]:
    """Measure the losses of the loaded model and write `losses-<benchmark>.csv`, one line per row.

    Raises:
        UserError: The generator has no network.
    """
    if not isinstance(generator, HFGenerator):
        raise UserError("benchmark=nll needs generator=hf: vLLM gives no losses of given answers here")
    assert generator.model is not None
    assert generator.tokenizer is not None
    scores = []
    for name, benchmark in track(benchmarks.items(), "losses"):
        cache = token_cache("auto", cfg.output_root, str(cfg.model.data))
        found = row_losses(generator.model, tokenized(benchmark, cfg.split, generator.tokenizer, cache))
        pd.DataFrame(found.rows()).to_csv(run.work / f"losses-{name}.csv", index=False)
        scores += benchmark.score(found)
    return scores


def tokenized(
    benchmark: LossBenchmark, split: str, tokenizer: PreTrainedTokenizerBase, cache: str | None
) -> HeldOutRows:
    """Tokenize the rows of a benchmark as training does.

    Args:
        benchmark: The rows.
        split: Their split.
        tokenizer: Of the checkpoint.
        cache: Directory of the token cache; None: in memory.
    """
    tokenization = Tokenization(tokenizer, benchmark.max_length)
    options = DataOptions(cache=cache, limit=benchmark.limit)
    tables, _ = training_tables({benchmark.task: benchmark.sources}, split, tokenization, options)
    return held_out_rows(tables[benchmark.task], benchmark.micro_batch, int(tokenizer.pad_token_id or 0))
