"""Finished run directories: their record, parsed once, and their files, found to be those that the run wrote."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.runs.file_hashes import FileState, hash_files
from src.utils.errors import UserError, first_differences
from src.utils.files import read_json_object

RECORD = "run.json"


@dataclass(frozen=True)
class FinishedRun:
    """A run that is whole.

    Args:
        directory: Its directory.
        stage: `train`, `merge`, `evaluate`, `diagnose` or `study`.
        inputs: By name, the SHA-256 of what it was made of: of the content, or of each file by name.
        outputs: Every file it wrote, by path in `directory`.
        results: Figures that the stage recorded.
        cost: `seconds` and `bytes`.
        argv: The command that made it.
    """

    directory: Path
    stage: str
    inputs: dict[str, Any]
    outputs: dict[str, FileState]
    results: dict[str, Any]
    cost: dict[str, float]
    argv: list[str]

    def hashes(self, names: Iterable[str]) -> dict[str, str]:
        """SHA-256 of files of the run by name; they are read again only where they look changed.

        Raises:
            UserError: A file is gone, was added, or is not the one that the run wrote.
        """
        wanted = sorted(names)
        present = {name: self.directory / name for name in wanted if (self.directory / name).is_file()}
        states = hash_files(present, self.outputs)
        wrong = []
        for name in wanted:
            if name not in present:
                wrong.append(f"{name} is gone")
            elif name not in self.outputs:
                wrong.append(f"{name} was added")
            elif states[name].sha256 != self.outputs[name].sha256:
                wrong.append(f"{name} has changed")
        if wrong:
            differences = first_differences(f"{self.directory} is not what its {RECORD} records", wrong)
            again = " ".join(self.argv)
            raise UserError(f"{differences}. Restore what the run wrote, or remove the directory and repeat: {again}")
        return {name: states[name].sha256 for name in wanted}


def open_finished(directory: Path) -> FinishedRun | None:
    """The finished run in a directory, or None where there is none (a checkpoint from elsewhere)."""
    record = read_record(directory)
    if record is None or record.get("state") != "finished":
        return None
    return FinishedRun(
        directory=directory,
        stage=record["stage"],
        inputs=record["inputs"],
        outputs={name: FileState(**state) for name, state in record["outputs"].items()},
        results=record["results"],
        cost=record["cost"],
        argv=record["argv"],
    )


def read_record(directory: Path) -> dict[str, Any] | None:
    """Content of the `run.json` of a directory, finished or not; None where there is none."""
    path = directory / RECORD
    return read_json_object(path) if path.is_file() else None
