"""`evaluate.py`: score a checkpoint, existing generations, or existing summaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf

from src.checkpoints.fingerprint import fingerprint
from src.config.checks import check_evaluate
from src.evaluation.benchmarks.code import CodeBenchmark
from src.evaluation.benchmarks.summary import SummaryBenchmark
from src.evaluation.generators.hf import HFGenerator
from src.evaluation.generators.samples import (
    Sample,
    generate_samples,
    read_samples,
    sample_rows,
    samples_hash,
    samples_key,
)
from src.evaluation.generators.vllm import VLLMGenerator
from src.evaluation.grading.grade import ProgramJudge, flaky_tasks
from src.evaluation.statistics.bootstrap import Interval
from src.evaluation.statistics.scores import Metric, Score, summarize, write_scores
from src.reporting.console import print_clean_scores, print_scores
from src.runs.finished import open_finished
from src.runs.paths import checkpoint_label
from src.runs.record import Inputs, Run, open_run
from src.stages.benchmarks import benchmark_nodes
from src.stages.build import build_once
from src.stages.checkpoints import existing_checkpoint, is_lazy_merge
from src.stages.evaluate.contamination import check_contamination, training_hashes, training_label
from src.stages.job import Job
from src.stages.merge.recorded import recorded_merge
from src.utils.errors import UserError
from src.utils.jsonl import write_jsonl

Benchmark = CodeBenchmark | SummaryBenchmark


def evaluate(job: Job) -> Path:
    """Write `items.csv` (one row per item and metric), `scores.csv` (means with intervals), samples and verdicts.

    With `contamination=FILE`, also `contamination.csv` and `clean_scores.csv`; without answers, only
    `contamination.csv`.

    Returns:
        The run directory.
    """
    cfg = job.cfg
    check_evaluate(cfg)
    nodes = benchmark_nodes(job)
    subject, scored_files = _subject(cfg)
    directory = job.directory(_name(job, subject))
    identity = _identity(job, nodes)
    inputs = {**scored_files, **training_hashes(cfg)}
    with open_run(directory, stage="evaluate", config=identity, inputs=inputs, argv=job.command) as run:
        if run.finished:
            return directory
        benchmarks: dict[str, Benchmark] = {name: build_once(node) for name, node in nodes.items()}
        scores = _score(job, benchmarks, run) if scored_files else []
        if scored_files:
            _record_scores(subject, cfg.seed, benchmarks, scores, run)
        if cfg.contamination is not None:
            check_contamination(cfg, benchmarks, scores, run)
    return directory


def show(directory: Path) -> None:
    """Print the scores of a finished evaluation."""
    run = open_finished(directory)
    assert run is not None
    results = run.results
    if "scores" in results:
        print_scores(results["scores"], str(directory), results["definitions"])
    for name, tasks in results.get("flaky", {}).items():
        if tasks:
            print(f"{name}: different result when run again alone: {', '.join(tasks)}")
    if "contamination" in results:
        print_clean_scores(results["contamination"])


def _score(job: Job, benchmarks: dict[str, Benchmark], run: Run) -> list[Score]:
    cfg = job.cfg
    if cfg.predictions is not None:
        [(name, benchmark)] = benchmarks.items()
        if not isinstance(benchmark, SummaryBenchmark):
            raise UserError(f"predictions= takes summaries, benchmark={name} runs programs; give samples=FILE instead")
        files = Path(cfg.predictions), Path(cfg.references)
        _note_corpus(run, name, benchmark.corpus_scores_of_files(*files))
        return benchmark.score_files(*files)
    if cfg.samples is not None:
        [benchmark] = benchmarks.values()
        return _score_samples(job, benchmark, read_samples(Path(cfg.samples)), run)
    generator = build_once(cfg.generator)
    _load(generator, existing_checkpoint(str(cfg.checkpoint), "checkpoint"))
    scores = []
    for name, benchmark in benchmarks.items():
        prompts = benchmark.prompts(cfg.split)
        key = samples_key(generator.identity(), prompts, benchmark.decoding, benchmark.content_hash(cfg.split))
        place = Path(cfg.output_root) / "samples"
        label = f"{Path(cfg.checkpoint).name}: {name}"
        samples = generate_samples(generator, prompts, benchmark.decoding, directory=place, key=key, label=label)
        write_jsonl(run.work / f"samples-{name}.jsonl", sample_rows(samples))
        scores += _score_samples(job, benchmark, samples, run)
    return scores


def _load(generator: HFGenerator | VLLMGenerator, checkpoint: Path) -> None:
    if is_lazy_merge(checkpoint):
        generator.load_lazy_merge(recorded_merge(checkpoint, "checkpoint"))
    else:
        generator.load(checkpoint)


def _score_samples(job: Job, benchmark: Benchmark, samples: Sequence[Sample], run: Run) -> list[Score]:
    if isinstance(benchmark, SummaryBenchmark):
        _note_corpus(run, benchmark.name, benchmark.corpus_scores(samples, job.cfg.split))
        return benchmark.score(samples, job.cfg.split)
    judge: ProgramJudge = build_once(job.cfg.sandbox)
    scores = benchmark.score(samples, job.cfg.split, judge)
    write_jsonl(run.work / f"verdicts-{benchmark.name}.jsonl", judge.verdict_rows())
    run.results.setdefault("flaky", {})[benchmark.name] = flaky_tasks(judge.results)
    return scores


def _note_corpus(run: Run, name: str, intervals: Mapping[str, Interval]) -> None:
    run.results.setdefault("corpus", {})[name] = {metric: asdict(value) for metric, value in intervals.items()}


def _record_scores(
    subject: str, seed: int, benchmarks: Mapping[str, Benchmark], scores: Sequence[Score], run: Run
) -> None:
    write_scores(scores, subject, run.work / "items.csv")
    means = _means(subject, seed, scores, run.results.get("corpus", {}))
    pd.DataFrame(means).to_csv(run.work / "scores.csv", index=False)
    definitions = {name: benchmark.definitions for name, benchmark in benchmarks.items()}
    run.results |= {"scores": means, "definitions": definitions}


def _means(
    subject: str, seed: int, scores: Sequence[Score], corpus: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The rows of `scores.csv`: item means, each benchmark's followed by its corpus-level scores."""
    means: dict[Metric, Any] = {metric: asdict(interval) for metric, interval in summarize(scores).items()}
    means |= {(name, metric): interval for name, found in corpus.items() for metric, interval in found.items()}
    order = list(dict.fromkeys(name for name, _ in means))
    return [
        {
            "subject": subject, "benchmark": name, "metric": metric, "value": interval["mean"], "n": interval["n"],
            "low": interval["low"], "high": interval["high"], "seed": seed,
        }
        for (name, metric), interval in sorted(means.items(), key=lambda pair: order.index(pair[0][0]))
    ]  # fmt: skip


def _subject(cfg: DictConfig) -> tuple[str, Inputs]:
    """Return the name of what is scored and the hashes of its files; empty if only contamination is checked."""
    if cfg.checkpoint is not None:
        place = existing_checkpoint(str(cfg.checkpoint), "checkpoint")
        is_lazy = is_lazy_merge(place)
        found = recorded_merge(place, "checkpoint").fingerprint if is_lazy else fingerprint(place)
        return checkpoint_label(str(cfg.checkpoint)), {"checkpoint": found}
    files = {key: Path(cfg[key]) for key in ("samples", "predictions", "references") if cfg[key] is not None}
    if not files:
        return "contamination", {}
    missing = [
        f"{key}={path}" for key, path in files.items() if not (path.is_file() or (key == "samples" and path.is_dir()))
    ]
    if missing:
        raise UserError(f"no such file: {', '.join(missing)}")
    first = next(iter(files.values()))
    name = first.name if first.is_dir() else first.name.split(".")[0]
    return name, {key: samples_hash(path) for key, path in files.items()}


def _name(job: Job, subject: str) -> str:
    cfg = job.cfg
    benchmark = [] if cfg.benchmark is None else [cfg.benchmark.name]
    named = ("model", "seed", "benchmark", "split", "contamination", *(f"sandbox.{key}" for key in cfg.sandbox))
    return "-".join([subject, *benchmark, *job.extras(named), *training_label(cfg), cfg.split])


def _identity(job: Job, nodes: dict[str, DictConfig]) -> dict[str, Any]:
    cfg = job.cfg
    plain = {name: OmegaConf.to_container(node, resolve=True) for name, node in nodes.items()}
    limits = {key: cfg.sandbox[key] for key in ("memory_mb", "min_time_limit", "gt_time_limit_factor")}
    identity: dict[str, Any] = {"split": cfg.split, "benchmarks": plain, "limits": limits}
    if cfg.checkpoint is not None:
        identity["generator"] = OmegaConf.to_container(cfg.generator, resolve=True)
    if cfg.contamination is not None:
        identity["contamination_keep"] = OmegaConf.to_container(cfg.contamination_keep, resolve=True)
    return identity
