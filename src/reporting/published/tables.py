"""Published tables as rows of scores, from a directory such as `references/paper`."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from src.reporting.format import coefficient
from src.reporting.names import method_label
from src.utils.errors import UserError, unknown_choice
from src.utils.files import read_json_object

REFERENCES = Path(__file__).parents[3] / "references"
ROW_KEYS = {"table", "log", "model", "method", "weight", "weight_second", "density", "average %"}
ABOUT_KEYS = {"title", "source", "tasks", "benchmarks", "models", "problems", "headline", "notes"}
SPECIALISTS = "specialists"  # the row that changes refer to: each task's own specialist
ALONE = {"base": "Base", SPECIALISTS: "Each task's own specialist", "mixture": "Data mixture"}


@dataclass(frozen=True)
class PublishedRow:
    """One row of a table or log.

    Attributes:
        table: `Table 5` or the name of a log.
        model: As published.
        method: `base`, `specialists`, `mixture` or a choice of conf/merge.
        weights: Coefficients of the first and the second task; None where there are none.
        density: Share of the parameters kept, in logs; else None.
        scores: Metric -> (value, decimals printed).
        changes: Metric -> change in percent as printed.
        average: Average change in percent as printed, or None.
    """

    table: str
    model: str
    method: str
    weights: tuple[float, float] | None = None
    density: float | None = None
    scores: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    changes: Mapping[str, float] = field(default_factory=dict)
    average: float | None = None

    @property
    def label(self) -> str:
        """For example `"TIES 0.3"`, or `"DARE 0.3+0.3, density 0.2"` for coefficients that do not sum to 1."""
        if self.method in ALONE:
            return ALONE[self.method]
        if self.weights is None:
            return method_label(self.method)
        first, second = self.weights
        at = coefficient(first)
        at += "" if abs(first + second - 1) < 1e-9 else f"+{coefficient(second)}"
        kept = "" if self.density in (None, 0.5) else f", density {coefficient(self.density)}"
        return f"{method_label(self.method)} {at}{kept}"


@dataclass(frozen=True)
class Published:
    """A published study.

    Attributes:
        title: Of the publication.
        source: Where the numbers come from.
        tasks: Task -> its benchmarks.
        benchmarks: Our benchmark -> the published one of the same problems, where their names differ.
        models: Our model -> the published one.
        problems: Benchmark of programs -> number of its problems.
        headline: Task -> metric that represents it in charts.
        notes: Sentences.
        rows: Rows of the tables.
        logs: Rows of the logs.
    """

    title: str
    source: str
    tasks: Mapping[str, list[str]]
    benchmarks: Mapping[str, str]
    models: Mapping[str, str]
    problems: Mapping[str, int]
    headline: Mapping[str, str]
    notes: list[str]
    rows: tuple[PublishedRow, ...]
    logs: tuple[PublishedRow, ...]

    @property
    def metrics(self) -> list[str]:
        """`benchmark metric`, in the order of the tables."""
        return list(dict.fromkeys(metric for row in self.rows for metric in row.scores))

    @property
    def tables(self) -> dict[tuple[str, str], list[PublishedRow]]:
        """(table, model) -> rows."""
        return _by_table(self.rows)

    @property
    def log_tables(self) -> dict[tuple[str, str], list[PublishedRow]]:
        """(log, model) -> rows."""
        return _by_table(self.logs)

    def task_of(self, metric: str) -> str:
        """The task that a metric measures."""
        benchmark = metric.split(" ")[0]
        return next(task for task, benchmarks in self.tasks.items() if benchmark in benchmarks)


def read_published(name: str) -> Published:
    """Read a directory of published results.

    Args:
        name: A directory, or the name of one in `references/`.

    Raises:
        UserError: There is no such directory, a file is missing, or a column or value makes no sense.
    """
    known = sorted(path.name for path in REFERENCES.iterdir() if path.is_dir())
    place = REFERENCES / name if name in known else Path(name)
    if not place.is_dir():
        raise unknown_choice("reference", name, [*known, "or a directory"])
    for file in ("tables.csv", "about.json"):
        if not (place / file).is_file():
            raise UserError(f"reference={name}: expected {file} in {place}; {REFERENCES / 'paper'} is an example")
    about = read_json_object(place / "about.json")
    if set(about) != ABOUT_KEYS:
        wrong = sorted(set(about) ^ ABOUT_KEYS)
        raise UserError(f"{place / 'about.json'}: missing or unknown keys {', '.join(wrong)}")
    logs = _read(place / "sweeps.csv") if (place / "sweeps.csv").is_file() else ()
    published = Published(**about, rows=_read(place / "tables.csv"), logs=logs)
    known_benchmarks = {benchmark for benchmarks in published.tasks.values() for benchmark in benchmarks}
    unknown = sorted({metric.split(" ")[0] for metric in published.metrics} - known_benchmarks)
    if unknown:
        raise UserError(f"{place / 'about.json'}: tasks name no task of the benchmarks {', '.join(unknown)}")
    return published


def _by_table(rows: tuple[PublishedRow, ...]) -> dict[tuple[str, str], list[PublishedRow]]:
    found: dict[tuple[str, str], list[PublishedRow]] = {}
    for row in rows:
        found.setdefault((row.table, row.model), []).append(row)
    return found


def _read(path: Path) -> tuple[PublishedRow, ...]:
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    missing = {"model", "method"} - set(lines[0] if lines else {})
    if missing:
        raise UserError(f"{path}: expected the columns {', '.join(sorted(missing))}")
    found = []
    for number, line in enumerate(lines, 2):
        try:
            found.append(_row(line))
        except ValueError as error:
            raise UserError(f"{path}, line {number}: {error}") from error
    return tuple(found)


def _row(line: Mapping[str, str]) -> PublishedRow:
    printed = {key: value for key, value in line.items() if key not in ROW_KEYS and value}
    values = {key: value for key, value in printed.items() if not key.endswith(" %")}
    changes = {key.removesuffix(" %"): float(value) for key, value in printed.items() if key.endswith(" %")}
    return PublishedRow(
        table=f"Table {line['table']}" if line.get("table") else str(line.get("log", "")),
        model=line["model"],
        method=line["method"],
        weights=_weights(line),
        density=_number(line.get("density")),
        scores={key: (float(value), _decimals(key, value)) for key, value in values.items()},
        changes=changes,
        average=_number(line.get("average %")),
    )


def _weights(line: Mapping[str, str]) -> tuple[float, float] | None:
    first, second = _number(line.get("weight")), _number(line.get("weight_second"))
    return None if first is None else (first, round(1 - first, 10) if second is None else second)


def _number(text: Any) -> float | None:
    return float(text) if text else None


def _decimals(metric: str, text: str) -> int:
    """Decimals printed; spreadsheets drop trailing zeros, so a metric has those of its kind: 3 of a share, else 4."""
    return max(len(text.partition(".")[2]), 3 if " pass@" in metric else 4)
