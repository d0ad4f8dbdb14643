"""An evaluation as `compare.py` reads it: the scores of its items and its answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from src.evaluation.statistics.differences import Details
from src.evaluation.statistics.scores import Score, read_scores
from src.runs.finished import open_finished
from src.utils.errors import UserError
from src.utils.files import sha256_file
from src.utils.jsonl import read_jsonl

ITEMS = "items.csv"


@dataclass(frozen=True)
class Evaluation:
    """A run directory of `evaluate.py`, or only its item scores.

    Attributes:
        name: Name in tables.
        path: Its `items.csv`; answers are read from the files beside it.
    """

    name: str
    path: Path

    @cached_property
    def scores(self) -> list[Score]:
        """Item scores."""
        return read_scores(self.path)

    @cached_property
    def details(self) -> Details:
        """(benchmark, item) -> its answers, as far as the evaluation recorded them."""
        details: Details = {}
        for path in self._detail_files:
            benchmark = path.stem.removeprefix("details-")
            for row in read_jsonl(path):
                details.setdefault((benchmark, row["task_id"]), []).append(row)
        return details

    @property
    def directory(self) -> Path:
        """Its run directory, or that of its file."""
        return self.path.parent

    def hashes(self) -> dict[str, str]:
        """SHA-256 of the files that are read, by evaluation and name."""
        found = {self.name: sha256_file(self.path)}
        return found | {f"{self.name}/{path.name}": sha256_file(path) for path in self._detail_files}

    @property
    def _detail_files(self) -> list[Path]:
        return sorted(self.directory.glob("details-*.jsonl"))


def open_evaluations(places: Sequence[str]) -> list[Evaluation]:
    """Open evaluations by their run directories or `items.csv`, named by directory where that tells them apart.

    Raises:
        UserError: One of them is neither.
    """
    names = [evaluation_name(place) for place in places]
    if len(set(names)) < len(places):
        names = list(places)
    return [Evaluation(name, _items(place)) for name, place in zip(names, places, strict=True)]


def is_checkpoint(place: str) -> bool:
    """True for the directory of a model instead of an evaluation."""
    path = Path(place)
    known = any((path / name).is_file() for name in ("config.json", "adapter_config.json"))
    return known and not (path / ITEMS).is_file()


def _items(place: str) -> Path:
    path = Path(place) / ITEMS if Path(place).is_dir() else Path(place)
    if not path.is_file():
        raise UserError(f"{place}: expected a run directory of evaluate.py or its {ITEMS}")
    open_finished(path.parent)  # refuses files that have changed; a table from elsewhere has no record
    return path


def evaluation_name(place: str) -> str:
    """Name of an evaluation in tables: that of its directory."""
    path = Path(place).resolve()
    return path.parent.name if path.name == ITEMS else path.name
