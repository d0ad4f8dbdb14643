"""Finished run directories: the one door through which every stage opens them.

The record is parsed and its shape checked, and the files are compared with the recorded hashes: small ones always, the
others where size, time or inode differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from src.runs.file_hashes import FileState, current_states
from src.utils.errors import UserError, first_differences
from src.utils.files import read_json_object, sha256_json, write_json

RECORD = "run.json"
DIGEST = "sha256"  # of the rest of the record
# pages and cards, which people edit, and folders of trackers, which write to them later; no stage reads them
UNREAD = ("*.md", "*.html", "*.pdf", "*.png", "*.svg", "*.tex", "wandb/*", "*events.out.tfevents*")


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
        """SHA-256 of files of the run by name; a large file is read again only if it looks changed.

        Raises:
            UserError: A file is missing, was added, or is not the one that the run wrote.
        """
        wanted = sorted(names)
        present = {name: self.directory / name for name in wanted if (self.directory / name).is_file()}
        states = current_states(present, self.outputs)
        wrong = []
        for name in wanted:
            if name not in present:
                wrong.append(f"{name} is missing")
            elif name not in self.outputs:
                wrong.append(f"{name} was added")
            elif states[name].sha256 != self.outputs[name].sha256:
                wrong.append(f"{name} has changed")
        if wrong:
            differences = first_differences(f"{self.directory} does not match its record", wrong)
            again = " ".join(self.argv)
            raise UserError(f"{differences}. Restore the files of the run, or remove the directory and repeat: {again}")
        return {name: states[name].sha256 for name in wanted}


@dataclass(frozen=True)
class _Attempt:
    seconds: float
    processes: int


@dataclass(frozen=True)
class _Machine:
    processes: int


@dataclass(frozen=True)
class _Running:
    """What resuming reads of a record."""

    began: float
    attempts: list[_Attempt]
    machine: _Machine


def open_finished(directory: Path) -> FinishedRun | None:
    """The finished run in a directory, or None if there is none (a checkpoint from elsewhere).

    Raises:
        UserError: Its record is damaged or has the form of another version, or a file is not the one that it wrote.
    """
    record = read_record(directory)
    if record is None or record.get("state") != "finished":
        return None
    return require_finished(directory, record)


def require_finished(directory: Path, record: Mapping[str, Any]) -> FinishedRun:
    """The finished run that a record describes.

    Raises:
        UserError: See `open_finished`; or the run is not finished.
    """
    if record.get("state") != "finished":
        raise UserError(f"{directory} holds an unfinished run; remove it, or choose another output=DIR")
    run: FinishedRun = _checked(FinishedRun, directory, {**record, "directory": directory})
    run.hashes(name for name in run.outputs if not any(fnmatch(name, pattern) for pattern in UNREAD))
    return run


def require_running(directory: Path, record: Mapping[str, Any]) -> None:
    """Require the shape of a record that an interrupted attempt has left.

    Raises:
        UserError: It is damaged, or has the form of another version.
    """
    _checked(_Running, directory, record)


def read_record(directory: Path) -> dict[str, Any] | None:
    """Content of a directory's `run.json`, finished or not; None if there is none.

    Raises:
        UserError: It is not a file or not a JSON object, or has changed since it was written.
    """
    path = directory / RECORD
    if not path.is_symlink() and not path.exists():
        return None
    if not path.is_file():
        raise UserError(f"{path} is not a file; remove the directory and repeat the run")
    record = read_json_object(path)
    digest = record.pop(DIGEST, None)  # a record written by hand need not have one
    if digest is not None and digest != sha256_json(record):
        raise UserError(
            f"{path} is damaged or was written by another version: its {DIGEST} is not that of its content. Restore "
            f"it, or remove the directory and repeat the run; if the change is intended, remove its key {DIGEST}"
        )
    return record


def write_record(directory: Path, record: Mapping[str, Any]) -> None:
    """Write `run.json` with a digest of itself."""
    write_json(directory / RECORD, {**record, DIGEST: sha256_json(record)})


@cache
def _shape(form: Any) -> TypeAdapter[Any]:
    return TypeAdapter(form)


def _checked(form: Any, directory: Path, record: Mapping[str, Any]) -> Any:
    try:
        return _shape(form).validate_python(record)
    except ValidationError as error:
        [first, *_] = error.errors(include_url=False)
        place = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{directory / RECORD} is damaged or was written by another version ({place}: {first['msg']}). Remove the "
            "directory and repeat the run"
        ) from error
