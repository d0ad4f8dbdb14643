"""Name and identity of an evaluation: the content of everything that decides a score."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from src.checkpoints.fingerprint import fingerprint
from src.config.checks import is_served
from src.evaluation.benchmarks.code import CodeBenchmark
from src.evaluation.benchmarks.loss import LossBenchmark
from src.evaluation.benchmarks.summary import SummaryBenchmark
from src.evaluation.generators.samples import samples_hash
from src.runs.paths import checkpoint_label
from src.runs.record import Inputs
from src.stages.build import build_once
from src.stages.checkpoints import existing_checkpoint
from src.stages.evaluate.contamination import training_label
from src.stages.job import Job, slug
from src.stages.merge.recorded import lazy_merge
from src.utils.errors import UserError
from src.utils.files import sha256_json

Benchmark = CodeBenchmark | SummaryBenchmark
Measured = Benchmark | LossBenchmark
FORMATS = (".gz", ".jsonl", ".json", ".txt", ".tsv", ".csv", ".output", ".gold")
COMMON_NAMES = ("samples", "predictions", "generated_predictions", "generations", "answers", "output", "eval_results")


def scored_subject(cfg: DictConfig) -> tuple[str, Inputs]:
    """Return the name of what is scored and the hashes of its files.

    There are none if only contamination is checked, or if a server generates.

    Raises:
        UserError: A file or checkpoint is missing.
    """
    if cfg.checkpoint is not None:
        place = existing_checkpoint(str(cfg.checkpoint), "checkpoint")
        point = lazy_merge(place, "checkpoint")
        return checkpoint_label(str(cfg.checkpoint)), {"checkpoint": point.fingerprint if point else fingerprint(place)}
    if is_served(cfg):
        return slug(str(cfg.generator.model).replace("/", "--")), {}
    files = {key: Path(cfg[key]) for key in ("samples", "predictions", "references") if cfg[key] is not None}
    if not files:
        return "contamination", {}
    missing = [
        f"{key}={path}" for key, path in files.items() if not (path.is_file() or (key == "samples" and path.is_dir()))
    ]
    if missing:
        raise UserError(f"no such file: {', '.join(missing)}")
    return file_label(next(iter(files.values()))), {key: samples_hash(path) for key, path in files.items()}


def file_label(path: Path) -> str:
    """Name a file of answers without its format; a name that many files share comes after its directory's.

    Dots inside the name stay: `Qwen--Qwen2.5-Coder-1.5B_vllm.jsonl` is not `Qwen--Qwen2`.
    """
    name = path.name
    if not path.is_dir():
        while Path(name).suffix.lower() in FORMATS and Path(name).stem:
            name = Path(name).stem
    shared = any(name == common or name.startswith(f"{common}-") for common in COMMON_NAMES)
    parent = path.resolve().parent.name
    return f"{parent}-{name}" if shared and parent else name


def run_name(job: Job, subject: str) -> str:
    """Name the run directory by subject, benchmark, changed keys and split."""
    cfg = job.cfg
    benchmark = [] if cfg.benchmark is None else [cfg.benchmark.name]
    named = ["model", "seed", "benchmark", "split", "contamination", *(f"sandbox.{key}" for key in cfg.sandbox)]
    if is_served(cfg):
        named += [f"generator.{key}" for key in ("base_url", "model", "concurrency", "timeout", "retries")]
    return "-".join([subject, *benchmark, *job.extras(tuple(named)), *training_label(cfg), cfg.split])


def run_identity(
    job: Job, nodes: Mapping[str, DictConfig], benchmarks: Mapping[str, Measured]
) -> tuple[dict[str, Any], dict[str, dict[str, str]]]:
    """Return the config that decides a score, and the hashes of the items with their tests or references.

    Args:
        job: The command.
        nodes: Config of each benchmark.
        benchmarks: The same, built.

    Raises:
        UserError: Items of a benchmark are missing, or a server does not answer.
    """
    cfg = job.cfg
    plain = {name: OmegaConf.to_container(node, resolve=True) for name, node in nodes.items()}
    limits = {key: cfg.sandbox[key] for key in ("memory_mb", "min_time_limit", "gt_time_limit_factor")}
    rules = {name: benchmark.rules() for name, benchmark in benchmarks.items()}
    config: dict[str, Any] = {"split": cfg.split, "benchmarks": plain, "limits": limits, "rules": rules}
    if cfg.formats:
        config["formats"] = sorted(cfg.formats)
    if cfg.checkpoint is not None:
        config["generator"] = OmegaConf.to_container(cfg.generator, resolve=True)
    if is_served(cfg):
        config["generator"] = build_once(cfg.generator).identity()
    if cfg.contamination is not None:
        config["contamination_keep"] = OmegaConf.to_container(cfg.contamination_keep, resolve=True)
    if cfg.predictions is not None:
        config["fields"] = [cfg.prediction_field, cfg.reference_field]
        return config, {}  # the references are a file of their own
    summaries = [benchmark for benchmark in benchmarks.values() if isinstance(benchmark, SummaryBenchmark)]
    if clusters := {one.name: sha256_json(found) for one in summaries if (found := one.clusters(cfg.split))}:
        config["clusters"] = clusters  # they decide intervals, not answers
    return config, {"items": item_hashes(cfg.split, benchmarks)}


def item_hashes(split: str, benchmarks: Mapping[str, Measured]) -> dict[str, str]:
    """Map each benchmark to the hash of its items with their tests or references.

    Raises:
        UserError: Items are missing.
    """
    return {name: benchmark.content_hash(split) for name, benchmark in benchmarks.items()}
