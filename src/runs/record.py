"""Run directories while they are written: complete or not at all, resumable, and never written twice.

A run is written to a hidden sibling (`.NAME.partial`) of its directory and renamed when it is complete, so an existing
directory is a finished run, even after `kill -9`.
"""

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
from src.runs.file_hashes import FileState, hash_files
from src.runs.finished import RECORD, read_record
from src.utils.errors import Stopped, UserError, first_differences
from src.utils.files import write_json

LOCK = ".lock"
LOOK = 0.1  # seconds between attempts to write a run that another process is writing
_patient = False
Inputs = Mapping[str, str | Mapping[str, str]]  # name -> SHA-256 of its content, or of each of its files


@dataclass
class Run:
    """One open or finished run directory; created by `begin_run` or `open_run`.

    Attributes:
        directory: Directory of the finished run.
        work: Directory to write to while the run is open.
        record: Content of `run.json`.
        finished: True if an equal run was found; then there is nothing to do.
        results: Values to record in `run.json`.
        lock: Held while the run is open; None for a run that was found.
        fresh: False if an interrupted attempt left its work.
        started: Time at which this attempt began, on the monotonic clock.
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
        """Directory inside `work` for the files that resuming needs; removed when the run finishes."""
        path = self.work / ".scratch"
        path.mkdir(parents=True, exist_ok=True)
        return path

    def finish(self, seconds: float | None = None, known: Mapping[str, FileState] | None = None) -> None:
        """Complete `run.json` and rename the work directory to its final name.

        Args:
            seconds: Duration of this attempt; None: the time since the run was opened. Earlier attempts are added.
            known: States of files that were hashed while they were written, by their names.
        """
        shutil.rmtree(self.work / ".scratch", ignore_errors=True)
        files = sorted(path for path in self.work.rglob("*") if path.is_file() and path.name not in (RECORD, LOCK))
        # The rename below changes neither the time nor the inode of the files, so these states stay valid.
        named = {path.relative_to(self.work).as_posix(): path for path in files}
        states = hash_files(named, known, remember=False)  # `run.json` remembers them
        outputs = {name: asdict(state) for name, state in states.items()}
        attempts = [*self.record["attempts"], self._attempt(seconds)]
        cost = {
            "seconds": round(sum(attempt["seconds"] for attempt in attempts), 3),
            "device_seconds": round(sum(attempt["seconds"] * attempt["processes"] for attempt in attempts), 3),
            "bytes": size_on_disk(self.work),
        }
        del self.record["began"]
        self.record |= {
            "state": "finished", "results": self.results, "outputs": outputs, "attempts": attempts, "cost": cost,
        }  # fmt: skip
        write_json(self.work / RECORD, self.record)
        os.replace(self.work, self.directory)
        (self.directory / LOCK).unlink(missing_ok=True)
        self.finished = True
        self.release()

    def _attempt(self, seconds: float | None) -> dict[str, float]:
        seconds = time.monotonic() - self.started if seconds is None else seconds
        return {"seconds": round(seconds, 3), "processes": self.record["machine"]["processes"]}

    def abandon(self) -> None:
        """Remove what this attempt wrote; keep the work of an earlier, interrupted attempt."""
        if self.fresh:
            shutil.rmtree(self.work)
        self.release()

    def release(self) -> None:
        """Release the lock; written files stay, so that the same command can resume."""
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
        directory: For example `runs/merge/pocket-ties-w0.3-s0`.
        stage: `train`, `merge`, `evaluate`, `diagnose`, `study`, `report` or `compare`.
        config: Resolved configuration that determines the result: no paths, no logging choices.
        inputs: By name, the SHA-256 of what is read: of its content, or of each of its files by name.
        argv: The command that reproduces the run.

    Returns:
        A `Run`; if `run.finished`, there is nothing to do. Otherwise the caller writes into `run.work`, puts values
        into `run.results` and calls `run.finish()`.

    Raises:
        UserError: The directory holds a run of another configuration or of other inputs (the differences are shown),
            it holds something else, or another process is writing it.
    """
    identity = {"stage": stage, "config": dict(config), "inputs": dict(inputs or {})}
    if found := _finished(directory, identity):  # without the lock: the directory may be read-only for this process
        return found
    _refuse_foreign(directory)
    work = work_directory(directory)
    lock = _lock(directory, work)
    if found := _finished(directory, identity):  # another process may have finished it before we got the lock
        if read_record(work) is None:
            shutil.rmtree(work)
        lock.release()
        return found
    interrupted = read_record(work)
    try:
        _require_resumable(work, interrupted, identity)
    except UserError:
        lock.release()
        raise
    record = {
        **identity, "state": "running", "argv": argv or [], **environment(),
        "began": time.time(), "attempts": _earlier_attempts(work, interrupted),
    }  # fmt: skip
    write_json(work / RECORD, record)
    return Run(directory, work, record, finished=False, lock=lock, fresh=interrupted is None)


def _earlier_attempts(work: Path, interrupted: dict[str, Any] | None) -> list[dict[str, float]]:
    """Attempts so far; one that was killed lasted at least until it wrote its last file."""
    if interrupted is None:
        return []
    last = max(path.stat().st_mtime for path in work.rglob("*"))
    seconds = max(0.0, last - interrupted["began"])
    attempt = {"seconds": round(seconds, 3), "processes": interrupted["machine"]["processes"]}
    return [*interrupted["attempts"], attempt]


def work_directory(directory: Path) -> Path:
    """Hidden sibling of a run directory that the run is written to until it is finished."""
    return directory.parent / f".{directory.name}.partial"


def find_run(directory: Path, *, stage: str, config: Mapping[str, Any], inputs: Inputs) -> str:
    """State of the run that `begin_run` would open, without opening it: `new`, `finished` or `interrupted`.

    Args:
        directory: See `begin_run`.
        stage: See `begin_run`.
        config: See `begin_run`.
        inputs: See `begin_run`.

    Raises:
        UserError: The directory holds something else.
    """
    identity = {"stage": stage, "config": dict(config), "inputs": dict(inputs)}
    if _finished(directory, identity):
        return "finished"
    _refuse_foreign(directory)
    work = work_directory(directory)
    interrupted = read_record(work)
    _require_resumable(work, interrupted, identity)
    return "new" if interrupted is None else "interrupted"


def wait_for_other_processes() -> None:
    """From now on, wait while another process writes a run and then reuse it, instead of refusing to write it too."""
    global _patient
    _patient = True


@contextlib.contextmanager
def open_run(
    directory: Path,
    *,
    stage: str,
    config: Mapping[str, Any],
    inputs: Inputs | None = None,
    argv: list[str] | None = None,
) -> Iterator[Run]:
    """`begin_run` as a context manager that finishes the run on exit.

    Bad input (`UserError`) leaves nothing behind: it would fail again. Any other exception, including `Stopped`, keeps
    the work, so that the same command can resume.
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


def add_results(directory: Path, **results: Any) -> None:
    """Add values to the `results` of a finished run, such as why it was made; equal ones change nothing."""
    record = read_record(directory)
    assert record is not None
    wanted = record["results"] | _as_json(results)
    if wanted != record["results"]:
        write_json(directory / RECORD, record | {"results": wanted})


def size_on_disk(directory: Path) -> int:
    """Bytes of all files under `directory`."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def _finished(directory: Path, identity: dict[str, Any]) -> Run | None:
    record = read_record(directory)
    if record is None:
        return None
    _require_equal(directory, record, identity, "holds another run")
    return Run(directory, directory, record, finished=True, results=record["results"])


def _require_resumable(work: Path, interrupted: dict[str, Any] | None, identity: dict[str, Any]) -> None:
    """What an interrupted attempt wrote is resumed only under the same config and inputs."""
    if interrupted is not None:
        _require_equal(work, interrupted, identity, "holds an interrupted run of another configuration")


def _require_equal(directory: Path, there: dict[str, Any], here: dict[str, Any], what: str) -> None:
    differences = list(_differences({key: there.get(key) for key in here}, _as_json(here)))
    if differences:
        detail = first_differences("first differences", differences)
        raise UserError(f"{directory} {what}; {detail}. Choose another output=DIR, or remove {directory}")


def _differences(there: Any, here: Any, path: str = "") -> Iterator[str]:
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted(there.keys() | here.keys()):
            yield from _differences(there.get(key), here.get(key), f"{path}.{key}" if path else key)
    elif there != here:
        yield f"{path.removeprefix('config.')}: {there!r} there, {here!r} here"


def _as_json(value: Any) -> Any:
    """Convert to what `run.json` stores: tuples become lists, keys become strings."""
    return json.loads(json.dumps(value))


def _refuse_foreign(directory: Path) -> None:
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UserError(f"{directory} exists and is not a run of this tool; choose another output=DIR")


def _lock(directory: Path, work: Path) -> FileLock:
    """An operating-system lock: it ends with its process, so that no stale lock blocks a resumed run.

    Its file is in the work directory and is removed with it, so nothing is left beside runs or in a checkpoint.
    """
    while True:
        work.mkdir(parents=True, exist_ok=True)
        lock = FileLock(work / LOCK)
        try:
            lock.acquire(timeout=0)
        except FileNotFoundError:  # the other process has just finished its run, and renamed the directory
            continue
        except Timeout:
            if not _patient:
                text = f"another process is writing {directory}; wait for it or choose output=DIR"
                raise UserError(text) from None
            time.sleep(LOOK)
        else:
            return lock
