"""`evaluate.py contamination=FILE`: benchmark items found in training data, and the scores without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig, ListConfig, OmegaConf

from src.data.records import find_data
from src.evaluation.benchmarks.code import CodeBenchmark
from src.evaluation.benchmarks.summary import SummaryBenchmark
from src.evaluation.contamination.files import check_benchmarks, clean_score_rows, counts, documents, finding_rows
from src.evaluation.statistics.scores import Score
from src.runs.record import Run
from src.utils.progress import track


def training_files(cfg: DictConfig) -> list[str]:
    """List the files, patterns or data sets in `contamination=`; empty if it is not given."""
    given = cfg.contamination
    return [str(name) for name in (given if isinstance(given, ListConfig) else [given]) if name is not None]


def training_hashes(cfg: DictConfig) -> dict[str, str]:
    """Hash the training files, as inputs of the run.

    Raises:
        UserError: A file is missing.
    """
    data = [find_data([name], "train", "contamination") for name in training_files(cfg)]
    return {f"contamination.{number}": found.fingerprint() for number, found in enumerate(data)}


def training_label(cfg: DictConfig) -> list[str]:
    """Return the training files' part of the run name, e.g. `["vs-mbpp"]`."""
    names = [Path(name).name.split(".")[0] for name in training_files(cfg)]
    return [f"vs-{'+'.join(names)}"] if names else []


def check_contamination(
    cfg: DictConfig,
    benchmarks: Mapping[str, CodeBenchmark | SummaryBenchmark],
    scores: Sequence[Score],
    run: Run,
) -> None:
    """Write `contamination.csv` (one row per item) and, if scored, `clean_scores.csv` (one per metric) into the run."""
    keep: Any = OmegaConf.to_container(cfg.contamination_keep, resolve=True)
    training = track(documents(training_files(cfg), keep), "training rows")
    found = check_benchmarks({name: benchmark.items(cfg.split) for name, benchmark in benchmarks.items()}, training)
    items = [{"benchmark": name, **row} for name, findings in found.items() for row in finding_rows(findings)]
    clean = [
        row
        for name in found
        for row in clean_score_rows([score for score in scores if score.benchmark == name], found[name])
    ]
    pd.DataFrame(items).to_csv(run.work / "contamination.csv", index=False)
    if clean:
        pd.DataFrame(clean).to_csv(run.work / "clean_scores.csv", index=False)
    verdicts = {name: counts(findings) for name, findings in found.items()}
    run.results["contamination"] = {"items": verdicts, "scores": clean}
