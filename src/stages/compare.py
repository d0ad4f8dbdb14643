"""`compare.py`: paired tests of evaluations against a reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from src.config.checks import check_compare
from src.evaluation.statistics.compare import compare as compare_scores
from src.evaluation.statistics.differences import COLUMNS, Details, differences
from src.evaluation.statistics.scores import read_scores
from src.reporting.console import print_comparison, print_differences
from src.runs.finished import open_finished
from src.runs.record import open_run
from src.stages.job import Job
from src.utils.errors import UserError
from src.utils.files import sha256_file
from src.utils.jsonl import read_jsonl

ITEMS, DIFFERENCES = "items.csv", "differences.csv"


def compare(job: Job) -> Path:
    """Write `comparison.csv` (one row per run and metric) and `differences.csv` (one per run and differing item).

    Returns:
        The run directory.
    """
    cfg = job.cfg
    check_compare(cfg)
    places = [str(cfg.reference), *map(str, cfg.runs)]
    names = [_name(place) for place in places]
    if len(set(names)) < len(places):
        names = places
    files = {name: _items(place) for name, place in zip(names, places, strict=True)}
    reference, *others = files
    directory = job.directory(f"{_label(reference)}-vs-{'+'.join(map(_label, others))}"[:200])
    identity = {"order": list(files), "resamples": cfg.resamples, "seed": cfg.seed}
    inputs = {name: sha256_file(path) for name, path in files.items()}
    inputs |= {f"{name}/{path.name}": sha256_file(path) for name in files for path in _detail_files(files[name])}
    with open_run(directory, stage="compare", config=identity, inputs=inputs, argv=job.command) as run:
        if run.finished:
            return directory
        scores = {name: read_scores(path) for name, path in files.items()}
        details = {name: _details(path) for name, path in files.items()}
        differ = [row for name in others for row in differences(reference, name, scores, details)]
        pd.DataFrame(differ, columns=list(COLUMNS)).to_csv(run.work / DIFFERENCES, index=False)
        tests = compare_scores(scores.pop(reference), scores, resamples=cfg.resamples, seed=cfg.seed)
        rows: list[dict[str, Any]] = [test.row() for test in tests]
        pd.DataFrame(rows).to_csv(run.work / "comparison.csv", index=False)
        run.results |= {"reference": reference, "comparison": rows}
    return directory


def show(directory: Path, first: int) -> None:
    """Print the results of a finished comparison with the `first` differing items of each run."""
    run = open_finished(directory)
    assert run is not None
    print_comparison(run.results["comparison"], run.results["reference"], str(directory))
    table = pd.read_csv(directory / DIFFERENCES, dtype={"item": str}, keep_default_na=False)
    print_differences(table.to_dict("records"), first, str(directory / DIFFERENCES))  # type: ignore[arg-type]


def _items(place: str) -> Path:
    path = Path(place) / ITEMS if Path(place).is_dir() else Path(place)
    if not path.is_file():
        raise UserError(f"{place}: expected a run directory of evaluate.py or its {ITEMS}")
    return path


def _detail_files(items: Path) -> list[Path]:
    return sorted(items.parent.glob("details-*.jsonl"))


def _details(items: Path) -> Details:
    """(benchmark, item) -> its answers, as far as the evaluation recorded them."""
    details: Details = {}
    for path in _detail_files(items):
        benchmark = path.stem.removeprefix("details-")
        for row in read_jsonl(path):
            details.setdefault((benchmark, row["task_id"]), []).append(row)
    return details


def _name(place: str) -> str:
    path = Path(place).resolve()
    return path.parent.name if path.name == ITEMS else path.name


def _label(name: str) -> str:
    return name.strip("/").replace("/", "_")
