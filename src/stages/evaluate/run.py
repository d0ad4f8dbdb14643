"""`evaluate.py`: score a checkpoint, a served model, existing generations, or existing summaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig

from src.config.checks import check_evaluate, is_served
from src.evaluation.benchmarks.loss import LossBenchmark
from src.evaluation.benchmarks.summary import SummaryBenchmark
from src.evaluation.benchmarks.text_files import read_pair
from src.evaluation.generators.hf import HFGenerator
from src.evaluation.generators.samples import (
    Sample,
    finish_counts,
    generate_samples,
    read_samples,
    sample_rows,
    samples_key,
)
from src.evaluation.generators.vllm import VLLMGenerator
from src.evaluation.grading.grade import EVALPLUS, FALLBACK
from src.evaluation.grading.program_judge import ProgramJudge
from src.evaluation.statistics.bootstrap import Interval
from src.evaluation.statistics.scores import Metric, Score, summarize, write_scores
from src.reporting.console import print_clean_scores, print_scores
from src.reporting.sentences import cluster_line, finish_line
from src.runs.finished import open_finished
from src.runs.record import Run, open_run
from src.stages.benchmarks import benchmark_nodes, with_split
from src.stages.build import build, build_once
from src.stages.checkpoints import existing_checkpoint
from src.stages.evaluate.contamination import check_contamination, training_hashes
from src.stages.evaluate.formats import write_answers, write_model_index
from src.stages.evaluate.identity import Benchmark, Measured, run_identity, run_name, scored_subject
from src.stages.evaluate.judged import judge_summaries
from src.stages.evaluate.losses import check_losses, measure_losses, measures_losses
from src.stages.job import Job
from src.stages.merge.recorded import lazy_merge
from src.stages.trackers import tracked
from src.utils.errors import UserError
from src.utils.jsonl import write_jsonl


@tracked
def evaluate(job: Job) -> Path:
    """Write `items.csv` (one row per item and metric), `scores.csv` (means with intervals), samples and verdicts.

    With `contamination=FILE`, also `contamination.csv` and `clean_scores.csv`; without answers, only
    `contamination.csv`.

    Returns:
        The run directory.
    """
    job = with_split(job)
    cfg = job.cfg
    check_evaluate(cfg)
    nodes = benchmark_nodes(job)
    if measures_losses(cfg):
        check_losses(cfg)
    subject, scored_files = scored_subject(cfg)
    directory = job.directory(run_name(job, subject))
    benchmarks: dict[str, Measured] = {name: build(node) for name, node in nodes.items()}  # files may change
    losses = {name: one for name, one in benchmarks.items() if isinstance(one, LossBenchmark)}
    answers = {name: one for name, one in benchmarks.items() if not isinstance(one, LossBenchmark)}
    identity, items = run_identity(job, nodes, benchmarks)
    inputs = {**scored_files, **items, **training_hashes(cfg)}
    with open_run(directory, stage="evaluate", config=identity, inputs=inputs, argv=job.command) as run:
        if run.finished:
            return directory
        if cfg.checkpoint is not None:
            run.results["checkpoint"] = str(existing_checkpoint(str(cfg.checkpoint), "checkpoint").absolute())
        answered = bool(scored_files) or is_served(cfg)
        scores = measure_losses(cfg, _loaded(cfg), losses, run) if losses else []
        scores += _score(job, answers, run) if answered and answers else []
        if answered:
            if cfg.predictions is None:
                _note_clusters(benchmarks, cfg.split, run)
            _record_scores(subject, cfg.seed, benchmarks, scores, run)
            write_model_index(cfg, subject, run.results["scores"], run)
        if cfg.contamination is not None:
            check_contamination(cfg, answers, scores, run)
    return directory


def show(directory: Path) -> None:
    """Print the scores of a finished evaluation."""
    run = open_finished(directory)
    assert run is not None
    results = run.results
    if "scores" in results:
        print_scores(results["scores"], str(directory), results["definitions"])
    for name, counts in results.get("finish", {}).items():
        print(f"{name}: {finish_line(counts)}")
    for name, found in results.get("judge", {}).items():
        print(f"{name}: {_judge_line(**found)}")
    for name, counts in results.get("clusters", {}).items():
        print(cluster_line(name, **counts))
    for name, counts in results.get("sanitize", {}).items():
        print(f"{name}: {_choice_line(**counts)}")
    for name, found in results.get("flaky", {}).items():
        for line in _flaky_lines(**found):
            print(f"{name}: {line}")
    if "contamination" in results:
        print_clean_scores(results["contamination"])


def _judge_line(model: str, prompt: str, graded: int, unread: Mapping[str, str]) -> str:
    line = f"{model} graded {graded} of {graded + len(unread)} summaries"
    if not unread:
        return line
    shown = ", ".join(f"{item} ({last[:60]!r})" for item, last in list(unread.items())[:5])
    more = f" and {len(unread) - 5} more" if len(unread) > 5 else ""
    return f"{line}; no grade at the end of the reply, and no score: {shown}{more}"


def _flaky_lines(programs: int, changed: int, tasks: Sequence[str]) -> list[str]:
    again = f"{programs} programs ran again with another hash seed: {changed} got another verdict"
    return ([again] if programs else []) + (
        [f"flaky (the verdict changes from run to run): {', '.join(tasks)}"] if tasks else []
    )


def _choice_line(choice: str, programs: int, differ: int, pass_only_here: int, pass_only_there: int) -> str:
    other = EVALPLUS if choice == FALLBACK else FALLBACK
    return (
        f"sanitize={choice} changes {differ} of {programs} verdicts against sanitize={other} "
        f"({pass_only_here} pass only with {choice}, {pass_only_there} only with {other})"
    )


def _score(job: Job, benchmarks: dict[str, Benchmark], run: Run) -> list[Score]:
    cfg = job.cfg
    if cfg.predictions is not None:
        [(name, benchmark)] = benchmarks.items()
        if not isinstance(benchmark, SummaryBenchmark):
            raise UserError(f"predictions= takes summaries, benchmark={name} runs programs; give samples=FILE instead")
        fields = cfg.prediction_field, cfg.reference_field
        texts = read_pair(Path(cfg.predictions), Path(cfg.references), *fields)
        scores = benchmark.score_texts(*texts)
        _write_details(run, name, _summaries(*texts))
        _note_corpus(run, name, benchmark.corpus_scores_of_texts(*texts))
        return scores + judge_summaries(cfg, benchmark, *texts, run)
    if cfg.samples is not None:
        [benchmark] = benchmarks.values()
        return _score_samples(job, benchmark, read_samples(Path(cfg.samples)), run)
    generator = _loaded(cfg)
    subject = Path(cfg.generator.model if is_served(cfg) else cfg.checkpoint).name
    scores = []
    for name, benchmark in benchmarks.items():
        prompts = benchmark.prompts(cfg.split)
        key = samples_key(generator.identity(), prompts, benchmark.decoding, benchmark.content_hash(cfg.split))
        place = Path(cfg.output_root) / "samples"
        label = f"{subject}: {name}"
        samples = generate_samples(generator, prompts, benchmark.decoding, directory=place, key=key, label=label)
        write_jsonl(run.work / f"samples-{name}.jsonl", sample_rows(samples))
        scores += _score_samples(job, benchmark, samples, run)
    return scores


def _loaded(cfg: DictConfig) -> Any:
    """The generator, with the checkpoint in memory unless a server generates."""
    generator: HFGenerator | VLLMGenerator = build_once(cfg.generator)
    if is_served(cfg):
        return generator
    checkpoint = existing_checkpoint(str(cfg.checkpoint), "checkpoint")
    if point := lazy_merge(checkpoint, "checkpoint"):
        generator.load_lazy_merge(point)
    else:
        generator.load(checkpoint)
    return generator


def _score_samples(job: Job, benchmark: Benchmark, samples: Sequence[Sample], run: Run) -> list[Score]:
    if counts := finish_counts(samples):
        run.results.setdefault("finish", {})[benchmark.name] = counts
    if isinstance(benchmark, SummaryBenchmark):
        scores = benchmark.score(samples, job.cfg.split)
        _note_corpus(run, benchmark.name, benchmark.corpus_scores(samples, job.cfg.split))
        texts = {sample.task_id: sample.completion for sample in samples if sample.index == 0}
        prompts = {item: row["code"] for item, row in benchmark.items(job.cfg.split).items()}
        references = benchmark.references(job.cfg.split)
        _write_details(run, benchmark.name, _summaries(texts, references), prompts)
        write_answers(job.cfg, benchmark, samples, scores, None, run)
        return scores + judge_summaries(job.cfg, benchmark, texts, references, run)
    judge: ProgramJudge = build_once(job.cfg.sandbox)
    scores = benchmark.score(samples, job.cfg.split, judge)
    write_jsonl(run.work / f"verdicts-{benchmark.name}.jsonl", judge.verdict_rows())
    prompts = {item: problem["prompt"] for item, problem in benchmark.items(job.cfg.split).items()}
    _write_details(run, benchmark.name, judge.detail_rows(), prompts)
    run.results.setdefault("flaky", {})[benchmark.name] = judge.flaky()
    if (choice := judge.other_choice()) is not None:
        run.results.setdefault("sanitize", {})[benchmark.name] = {"choice": benchmark.sanitize, **choice}
    write_answers(job.cfg, benchmark, samples, scores, judge.grades, run)
    return scores


def _summaries(predictions: Mapping[str, str], references: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"task_id": item, "answer": predictions[item], "expected": text} for item, text in references.items()]


def _write_details(
    run: Run, name: str, rows: Sequence[dict[str, Any]], prompts: Mapping[str, str] | None = None
) -> None:
    """Write what `compare.py` shows of each answer; texts from two files have no prompts."""
    known = prompts or {}
    rows = [row | {"prompt": known.get(row["task_id"], "")} for row in rows]
    write_jsonl(run.work / f"details-{name}.jsonl", rows)


def _note_corpus(run: Run, name: str, intervals: Mapping[str, Interval]) -> None:
    run.results.setdefault("corpus", {})[name] = {metric: asdict(value) for metric, value in intervals.items()}


def _note_clusters(benchmarks: Mapping[str, Measured], split: str, run: Run) -> None:
    summaries = [benchmark for benchmark in benchmarks.values() if isinstance(benchmark, SummaryBenchmark)]
    found = {benchmark.name: clusters for benchmark in summaries if (clusters := benchmark.clusters(split))}
    run.results["clusters"] = {
        name: {"clusters": len(set(clusters.values())), "items": len(clusters)} for name, clusters in found.items()
    }


def _record_scores(
    subject: str,
    seed: int,
    benchmarks: Mapping[str, Measured],
    scores: Sequence[Score],
    run: Run,
) -> None:
    write_scores(scores, subject, run.work / "items.csv")
    intervals = summarize(scores)
    means = _means(subject, seed, intervals, run.results.get("corpus", {}))
    pd.DataFrame(means).to_csv(run.work / "scores.csv", index=False)
    definitions = {name: benchmark.definitions for name, benchmark in benchmarks.items()}
    run.results |= {"scores": means, "definitions": definitions}


def _means(
    subject: str, seed: int, intervals: Mapping[Metric, Interval], corpus: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The rows of `scores.csv`: item means, each benchmark's followed by its corpus-level scores."""
    means: dict[Metric, Any] = {metric: asdict(interval) for metric, interval in intervals.items()}
    means |= {(name, metric): interval for name, found in corpus.items() for metric, interval in found.items()}
    order = list(dict.fromkeys(name for name, _ in means))
    return [
        {
            "subject": subject, "benchmark": name, "metric": metric, "value": interval["mean"], "n": interval["n"],
            "low": interval["low"], "high": interval["high"], "seed": seed,
        }
        for (name, metric), interval in sorted(means.items(), key=lambda pair: order.index(pair[0][0]))
    ]  # fmt: skip
