"""`train.py strategy=fisher|regmean`: statistics of a specialist on its task, for merges that use data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig

from src.checkpoints import CheckpointWriter, TensorInfo, write_checkpoint
from src.checkpoints.fingerprint import fingerprint
from src.config.types import check_types
from src.data.shards import Tokenization
from src.data.table import TokenTable
from src.merging.methods.fisher_regmean_statistics import (
    Batch,
    diagonal_fisher,
    gram_matrices,
    linear_layers,
    memory_groups,
)
from src.merging.tensors.lora_adapter import is_adapter
from src.models import ModelSpec, load_model, load_tokenizer, torch_dtype
from src.runs.paths import training_name
from src.runs.record import open_run
from src.stages.build import build
from src.stages.checkpoints import model_label, trained_directories, written_checkpoint
from src.stages.job import Job, task_of
from src.stages.trackers import tracked
from src.stages.train.names import SPEED
from src.stages.train.rows import task_sources, token_cache, training_tables
from src.utils.errors import UserError
from src.utils.progress import track

STRATEGY = {"rows": int, "max_length": int, "memory_gb": float}
KEYS = ("model", "strategy", "task", "seed")


@tracked
def statistics(job: Job) -> Path:
    """Write the statistics of one specialist as a directory of safetensors, named like its weights.

    Returns:
        The run directory.

    Raises:
        UserError: There is no specialist, or its task has no rows.
    """
    cfg = job.cfg
    given = {key: value for key, value in cfg.strategy.items() if key in STRATEGY}
    check_types(given, STRATEGY, "strategy.{}".format)
    if cfg.strategy.rows < 1:
        raise UserError(f"strategy.rows must be at least 1, got {cfg.strategy.rows}")
    model: ModelSpec = build(cfg.model)
    place = _specialist(cfg)
    identity = {key: job.identity()[key] for key in KEYS}
    identity["task"] = job.identity()["tasks"][task_of(cfg)]
    identity["strategy"].pop("checkpoint")
    with open_run(
        _directory(job), stage="train", config=identity, inputs={"checkpoint": fingerprint(place)}, argv=job.command
    ) as run:
        if not run.finished:
            gpu = torch.cuda.is_available()
            network = load_model(place, dtype=torch_dtype(model.dtype if gpu else "float32")).eval()
            network.to(torch.device("cuda" if gpu else "cpu"))
            rows = _Rows(_rows(cfg, model, place), network.device, f"{cfg.strategy.name} of {place.name}")
            _write(network, rows, cfg.strategy, run.work)
            run.results |= {"rows": len(rows), "parents": {"specialist": str(place.absolute())}}
    return run.directory


class _Rows:
    """Training rows one by one; each pass starts from the first row."""

    def __init__(self, table: TokenTable, device: torch.device, label: str) -> None:
        self.table, self.device, self.label = table, device, label

    def __len__(self) -> int:
        return len(self.table)

    def __iter__(self) -> Iterator[Batch]:
        for index in track(range(len(self.table)), self.label):
            tokens, labels = (torch.from_numpy(part.astype(np.int64))[None] for part in self.table.row(index))
            batch = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "labels": labels}
            yield {name: tensor.to(self.device) for name, tensor in batch.items()}


def _write(network: torch.nn.Module, rows: _Rows, strategy: DictConfig, directory: Path) -> None:
    if strategy.name == "fisher":
        write_checkpoint(directory, diagonal_fisher(network, rows))
        return
    layers = linear_layers(network)
    table = {f"{name}.weight": TensorInfo((layer.in_features,) * 2, torch.float32) for name, layer in layers.items()}
    with CheckpointWriter(directory, table) as writer:
        for group in memory_groups(layers, int(strategy.memory_gb * 1e9)):
            for name, matrix in gram_matrices(network, rows, group).items():
                writer.write(name, matrix)


def _rows(cfg: DictConfig, model: ModelSpec, place: Path) -> TokenTable:
    tokenization = Tokenization(load_tokenizer(place), cfg.strategy.max_length, cfg.strategy.truncation)
    options = build(cfg.data)
    options = replace(options, cache=token_cache(options.cache, cfg.output_root, model.data), fraction=1.0)
    tables, _ = training_tables(task_sources(cfg, model.data, "train"), "train", tokenization, options)
    [table] = tables.values()
    wanted = min(cfg.strategy.rows, len(table))
    return table.subset(np.arange(wanted, dtype=np.int64) * len(table) // wanted)


def _specialist(cfg: DictConfig) -> Path:
    given, task = cfg.strategy.checkpoint, task_of(cfg)
    place = trained_directories(cfg, "specialist", [task])[task] if given is None else given
    checkpoint = written_checkpoint(str(place), "strategy.checkpoint")
    if is_adapter(checkpoint):
        raise UserError(f"strategy.checkpoint={checkpoint} is a LoRA adapter; statistics need whole weights")
    return checkpoint


def _directory(job: Job) -> Path:
    cfg = job.cfg
    name = training_name(model_label(cfg.model), cfg.strategy.name, task_of(cfg), cfg.seed, job.extras((*KEYS, *SPEED)))
    return job.directory(name)
