"""Finished run directories: their record, parsed once, and a check that their files are still those the run wrote."""

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
    """A finished run.

    Args:
        directory: Its directory.
        stage: `train`, `merge`, `evaluate`, `diagnose` or `study`.
        inputs: By name, the SHA-256 of what it read: of the content, or of each file by name.
        outputs: State of every file it wrote, by path in `directory`.
        results: Values that the stage recorded.
        cost: Over all attempts, `seconds` and `device_seconds` (times the processes, one per device); `bytes` on disk.
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
        """SHA-256 of files of the run by name; a file is read again only if it looks changed.

        Raises:
            UserError: A file is missing, was added, or is not the one that the run wrote.
        """
        wanted = sorted(names)
        present = {name: self.directory / name for name in wanted if (self.directory / name).is_file()}
        states = hash_files(present, self.outputs)
        wrong = []
        for name in wanted:
            if name not in present:
                wrong.append(f"{name} is missing")
            elif name not in self.outputs:
                wrong.append(f"{name} was added")
            elif states[name].sha256 != self.outputs[name].sha256:
                wrong.append(f"{name} has changed")
        if wrong:
            differences = first_differences(f"{self.directory} does not match its {RECORD}", wrong)
            again = " ".join(self.argv)
            raise UserError(f"{differences}. Restore the files of the run, or remove the directory and repeat: {again}")
        return {name: states[name].sha256 for name in wanted}


def open_finished(directory: Path) -> FinishedRun | None:
    """The finished run in a directory, or None if there is none (a checkpoint from elsewhere).

    Raises:
        UserError: Its record is damaged, or has the form of another version.
    """
    record = read_record(directory)
    if record is None or record.get("state") != "finished":
        return None
    try:
        return FinishedRun(
            directory=directory,
            stage=record["stage"],
            inputs=record["inputs"],
            outputs={name: FileState(**state) for name, state in record["outputs"].items()},
            results=record["results"],
            cost=record["cost"],
            argv=record["argv"],
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{directory / RECORD} is damaged or was written by another version ({error!r}). Remove the directory and "
            "repeat the run"
        ) from error


def read_record(directory: Path) -> dict[str, Any] | None:
    """Content of a directory's `run.json`, finished or not; None if there is none."""
    path = directory / RECORD
    return read_json_object(path) if path.is_file() else None
