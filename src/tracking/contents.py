"""What a finished run shows to a tracker: its numbers, tables, figures and pages, and its place in the lineage.

Everything is read from the run directory, so that a run can be shown at any time after it has ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from src.runs.finished import read_record
from src.tracking.artifacts import Artifact, data_artifact, directory_artifact
from src.utils.jsonl import read_jsonl

TRACKED = "tracked"  # key of a record's results: where each tracker keeps the run
ROWS = 10_000  # of a table; W&B shows no more
SKIPPED = {
    TRACKED,
    "definitions",
    "recipe",
    "nested_merges",
    "parents",
    "data",
    "used",
}  # shown elsewhere, or no result
METRICS = "metrics.jsonl"
SCORE = ("benchmark", "metric", "value")  # columns of a list of scores
Scalar = float | int | str | bool


@dataclass(frozen=True)
class Contents:
    """What a tracker shows of a run.

    Args:
        summary: Final values by name, e.g. `scores/mbpp/pass@1`.
        tables: By name.
        images: PNG files by name.
        pages: HTML files by name.
        history: Rows of a training run with their `step`.
        uses: Artifacts that it read.
        makes: The artifact that it is.
        cut: Tables of which only the first rows are here, with their whole number of rows.
    """

    summary: Mapping[str, Scalar] = field(default_factory=dict)
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    images: Mapping[str, Path] = field(default_factory=dict)
    pages: Mapping[str, Path] = field(default_factory=dict)
    history: Sequence[Mapping[str, Any]] = ()
    uses: Sequence[Artifact] = ()
    makes: Artifact | None = None
    cut: Mapping[str, int] = field(default_factory=dict)


def run_contents(directory: Path, samples: int = 200) -> Contents:
    """Read the contents of a finished run.

    Args:
        directory: Its directory.
        samples: Answers per benchmark in the tables of samples.
    """
    record = read_record(directory)
    assert record is not None, directory
    results = record["results"]
    files = [name for name in record["outputs"] if (directory / name).is_file()]
    tables = {_label(name): _table(directory / name) for name in files if name.endswith(".csv")}
    tables |= {name: table for name, table in _listed_tables(results) if name not in tables}
    tables |= {f"samples/{_benchmark(name)}": _samples(directory, name, samples) for name in files if _details(name)}
    return Contents(
        summary=dict(_summary(results)) | {f"cost/{key}": value for key, value in record["cost"].items()},
        tables={name: table.head(ROWS) for name, table in tables.items()},
        images={_label(name): directory / name for name in files if name.endswith(".png")},
        pages={f"pages/{_label(name)}": directory / name for name in files if name.endswith(".html")},
        history=read_jsonl(directory / METRICS) if METRICS in files else (),
        uses=_used(results),
        makes=directory_artifact(directory),
        cut={name: len(table) for name, table in tables.items() if len(table) > ROWS},
    )


def flat(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Scalar]]:
    """Values of nested mappings by path; scores by benchmark and metric; other lists and nulls are left out.

    Example:
        >>> dict(flat({"a": {"b": 1}, "c": [1, 2]}))
        {'a/b': 1}
    """
    for key, value in values.items():
        name = f"{path}/{key}" if path else str(key)
        if isinstance(value, Mapping):
            yield from flat(value, name)
        elif _is_scores(value):
            for row in value:
                place = f"{name}/{row['benchmark']}/{row['metric']}"
                yield place, row["value"]
                yield from ((f"{place}/{bound}", row[bound]) for bound in ("low", "high", "n") if bound in row)
        elif isinstance(value, (bool, int, float, str)):
            yield name, value


def _summary(results: Mapping[str, Any]) -> Iterator[tuple[str, Scalar]]:
    yield from flat({key: value for key, value in results.items() if key not in SKIPPED})


def _is_scores(value: Any) -> bool:
    return _is_rows(value) and all(column in value[0] for column in SCORE)


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, Mapping) for row in value)


def _listed_tables(results: Mapping[str, Any]) -> Iterator[tuple[str, pd.DataFrame]]:
    for key, value in results.items():
        if _is_rows(value) and key not in SKIPPED:
            yield key, pd.json_normalize(value, sep=".")
        if key == "finish":
            rows = [(name, reason, count) for name, counts in value.items() for reason, count in counts.items()]
            yield key, pd.DataFrame(rows, columns=["benchmark", "finish", "answers"])
        if key == "parents":
            yield key, pd.DataFrame(list(value.items()), columns=["role", "directory"])


def _table(path: Path) -> pd.DataFrame:
    if path.stat().st_size <= 1:  # no columns
        return pd.DataFrame()
    return pd.read_csv(path)


def _details(name: str) -> bool:
    return name.startswith("details-") and name.endswith(".jsonl")


def _benchmark(name: str) -> str:
    return name.removeprefix("details-").removesuffix(".jsonl")


def _label(name: str) -> str:
    return name.rpartition(".")[0]


def _samples(directory: Path, name: str, limit: int) -> pd.DataFrame:
    """Prompts and answers with their verdicts and the reasons why they ended."""
    benchmark = _benchmark(name)
    rows = read_jsonl(directory / name)
    verdicts = _rows_of(directory / f"verdicts-{benchmark}.jsonl")
    finish = {
        (row["task_id"], row.get("index", 0)): row.get("finish")
        for row in _rows_of(directory / f"samples-{benchmark}.jsonl")
        if row.get("generated", True)
    }
    if len(verdicts) == len(rows):
        rows = [{**verdict, **row} for verdict, row in zip(verdicts, rows, strict=True)]
    shown = rows[:limit]
    for row in shown:
        if reason := finish.get((row["task_id"], row.get("sample", 0))):
            row["finish"] = reason
    return pd.DataFrame(shown)


def _rows_of(path: Path) -> list[dict[str, Any]]:
    return read_jsonl(path) if path.is_file() else []


def _used(results: Mapping[str, Any]) -> list[Artifact]:
    """Artifacts of the directories and the data that a record names."""
    places = [*results.get("parents", {}).values(), *results.get("used", ())]
    places += [results["checkpoint"]] if isinstance(results.get("checkpoint"), str) else []
    found = [directory_artifact(Path(place)) for place in dict.fromkeys(places) if Path(place).is_dir()]
    return [*(data_artifact(task, about) for task, about in results.get("data", {}).items()), *found]


def run_config(record: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """The nested configuration of a run, with its command, directory and versions under `run`.

    Args:
        record: Its `run.json`, finished or not.
        directory: Its directory.
    """
    about = {key: record[key] for key in ("commit", "versions", "machine")}
    return {
        **record["config"],
        "run": {"command": " ".join(record["argv"]), "directory": str(directory.resolve()), **about},
    }
