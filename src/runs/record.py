"""Run directories: what was run, from what, into what - whole or not at all, and never twice."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from src.runs.environment import environment
from src.runs.file_hashes import hash_files
from src.runs.finished import RECORD, read_record
from src.utils.errors import Stopped, UserError, first_differences
from src.utils.files import write_json

Inputs = Mapping[str, str | Mapping[str, str]]  # name -> SHA-256 of its content, or of each of its files


@dataclass
class Run:
    """One open or finished run directory; made by `begin_run` or `open_run`.

    Attributes:
        directory: Final place of the run.
        work: Where to write while it is open (a hidden sibling, renamed to `directory` at the end).
        record: The content of `run.json`.
        finished: True if an equal run had already been finished; then there is nothing to do.
        results: Figures worth recording; they go into `run.json`.
    """

    directory: Path
    work: Path
    record: dict[str, Any]
    finished: bool
    results: dict[str, Any] = field(default_factory=dict)
    lock: FileLock | None = None
    fresh: bool = True
    started: float = field(default_factory=time.monotonic)

    @property
    def scratch(self) -> Path:
        """Folder inside `work` for what resuming needs; removed when the run finishes."""
        path = self.work / ".scratch"
        path.mkdir(parents=True, exist_ok=True)
        return path

    def finish(self, seconds: float | None = None) -> None:
        """Complete `run.json` and let the directory appear at its place.

        Args:
            seconds: What the run took; None: since it was opened.
        """
        shutil.rmtree(self.work / ".scratch", ignore_errors=True)
        files = sorted(path for path in self.work.rglob("*") if path.is_file() and path.name != RECORD)
        # Renaming the directory below changes neither time nor inode, so the hashes hold for the files at their place.
        states = hash_files({path.relative_to(self.work).as_posix(): path for path in files})
        outputs = {name: asdict(state) for name, state in states.items()}
        seconds = time.monotonic() - self.started if seconds is None else seconds
        cost = {"seconds": round(seconds, 3), "bytes": size_on_disk(self.work)}
        self.record |= {"state": "finished", "results": self.results, "outputs": outputs, "cost": cost}
        write_json(self.work / RECORD, self.record)
        os.replace(self.work, self.directory)
        self.finished = True
        self.release()

    def abandon(self) -> None:
        """Leave nothing behind of a run that bad input stopped, unless an earlier attempt had left its work."""
        if self.fresh:
            shutil.rmtree(self.work)
        self.release()

    def release(self) -> None:
        """Let other processes have the place; what was written stays for the same run to go on."""
        if self.lock is not None:
            self.lock.release()


def begin_run(
    directory: Path,
    *,
    stage: str,
    config: Mapping[str, Any],
    inputs: Inputs | None = None,
    argv: list[str] | None = None,
) -> Run:
    """Open `directory` for one run.

    Args:
        directory: Final place, e.g. `runs/merge/pocket-ties-w0.3-s0`.
        stage: Name of the stage (train, merge, evaluate, diagnose, study).
        config: JSON-like resolved configuration that decides the result (no paths, no logging choices).
        inputs: By name, the SHA-256 of what is read: of its content, or of each of its files by name.
        argv: The command that reproduces the run.

    Returns:
        A `Run`; if `run.finished` there is nothing to do. Otherwise the caller writes into `run.work`, puts figures
        into `run.results` and calls `run.finish()`.

    Raises:
        UserError: The place holds a run of another configuration (the differences are shown), or another process
            is writing it.
    """
    identity = {"stage": stage, "config": dict(config), "inputs": dict(inputs or {})}
    finished = read_record(directory)
    if finished is not None:
        _require_equal(directory, finished, identity, "holds another run")
        return Run(directory, directory, finished, finished=True, results=finished["results"])
    _refuse_foreign(directory)
    lock = _lock(directory)
    work = directory.parent / f".{directory.name}.partial"
    fresh = not work.exists()
    if not fresh and (interrupted := read_record(work)) is not None:
        _require_equal(work, interrupted, identity, "holds an interrupted run of another configuration")
    record = {**identity, "state": "running", "argv": argv or [], **environment()}
    write_json(work / RECORD, record)
    return Run(directory, work, record, finished=False, lock=lock, fresh=fresh)


@contextlib.contextmanager
def open_run(
    directory: Path,
    *,
    stage: str,
    config: Mapping[str, Any],
    inputs: Inputs | None = None,
    argv: list[str] | None = None,
) -> Iterator[Run]:
    """`begin_run` as a context: on leaving without an error the run appears whole; bad input leaves nothing.

    Any other exception, `Stopped` too, leaves the work beside its place, for the same command to resume.
    """
    run = begin_run(directory, stage=stage, config=config, inputs=inputs, argv=argv)
    try:
        yield run
    except UserError as error:
        if isinstance(error, Stopped):
            run.release()
        elif not run.finished:
            run.abandon()
        raise
    except BaseException:
        run.release()
        raise
    if not run.finished:
        run.finish()


def size_on_disk(directory: Path) -> int:
    """Bytes of all files under `directory`."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def _require_equal(place: Path, there: dict[str, Any], here: dict[str, Any], what: str) -> None:
    differences = list(_differences({key: there.get(key) for key in here}, _as_json(here)))
    if differences:
        detail = first_differences("first differences", differences)
        raise UserError(f"{place} {what}; {detail}. Choose another place with output=DIR, or remove {place}")


def _differences(there: Any, here: Any, path: str = "") -> Iterator[str]:
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted(there.keys() | here.keys()):
            yield from _differences(there.get(key), here.get(key), f"{path}.{key}" if path else key)
    elif there != here:
        yield f"{path.removeprefix('config.')}: {there!r} there, {here!r} here"


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _refuse_foreign(directory: Path) -> None:
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UserError(f"{directory} exists and is not a run of this tool; choose another place with output=DIR")


def _lock(directory: Path) -> FileLock:
    directory.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(directory.parent / f".{directory.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"another process is writing {directory}; wait for it or choose output=DIR") from None
    return lock
