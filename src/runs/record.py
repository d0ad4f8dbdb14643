"""Run directories while they are written: complete or not at all, resumable, and never written twice.

A run is written to a hidden sibling (`.NAME.partial`) of its directory and renamed when it is complete, so an existing
directory is a finished run, even after `kill -9`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from src.runs.environment import environment
from src.runs.file_hashes import FileState, hash_files
from src.runs.finished import RECORD, read_record, require_finished, require_running, write_record
from src.runs.identity import as_json, require_equal
from src.runs.lock import LOCK, LOOK, Busy, is_patient, lock_run
from src.utils.disk import is_disk_failure
from src.utils.errors import Stopped, UserError
from src.utils.files import UNFINISHED, write_text
from src.utils.signals import stop_if_asked

SCRATCH = ".scratch"
TRAINER_CHECKPOINTS = f"{SCRATCH}/checkpoints/*.ckpt"  # what a training can go on from: hours of GPUs
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
        path = self.work / SCRATCH
        path.mkdir(parents=True, exist_ok=True)
        return path

    def finish(self, seconds: float | None = None, known: Mapping[str, FileState] | None = None) -> None:
        """Complete `run.json` and rename the work directory to its final name.

        Args:
            seconds: Duration of this attempt; None: the time since the run was opened. Earlier attempts are added.
            known: States of files that were hashed while they were written, by their names.
        """
        files = payload(self.work)
        # The rename below changes neither the time nor the inode of the files, so these states stay valid.
        named = {path.relative_to(self.work).as_posix(): path for path in files}
        states = hash_files(named, known, remember=False)  # `run.json` remembers them
        outputs = {name: asdict(state) for name, state in states.items()}
        attempts = [*self.record["attempts"], self._attempt(seconds)]
        cost = {
            "seconds": round(sum(attempt["seconds"] for attempt in attempts), 3),
            "device_seconds": round(sum(attempt["seconds"] * attempt["processes"] for attempt in attempts), 3),
            "bytes": sum(state.bytes for state in states.values()),
        }
        del self.record["began"]
        self.record |= {
            "state": "finished", "results": self.results, "outputs": outputs, "attempts": attempts, "cost": cost,
        }  # fmt: skip
        write_record(self.work, self.record)
        _publish(self.work, self.directory)
        self.finished = True
        self.release()

    def _attempt(self, seconds: float | None) -> dict[str, float]:
        seconds = time.monotonic() - self.started if seconds is None else seconds
        return {"seconds": round(seconds, 3), "processes": self.record["machine"]["processes"]}

    def abandon(self) -> None:
        """Remove what this attempt wrote; keep the work of an earlier, interrupted attempt, and trained weights."""
        if self.fresh and not any(self.work.glob(TRAINER_CHECKPOINTS)):
            # renamed first: another process may begin the same run while the files are being removed
            removed = self.work.with_name(f"{self.work.name}-{os.getpid()}")
            os.replace(self.work, removed)
            shutil.rmtree(removed)
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
    stop_if_asked()
    identity = {"stage": stage, "config": dict(config), "inputs": dict(inputs or {})}
    if found := _finished(directory, identity):  # without the lock: the directory may be read-only for this process
        return found
    _refuse_foreign(directory)
    work = work_directory(directory)
    try:
        lock = lock_run(directory, work)
    except Busy:
        if found := _finished(directory, identity):  # the other process has finished it in between
            return found
        raise
    try:
        return _opened(directory, work, identity, argv or [], lock)
    except BaseException:
        lock.release()
        raise


def _opened(directory: Path, work: Path, identity: dict[str, Any], argv: list[str], lock: FileLock) -> Run:
    """Open a run whose lock this process holds."""
    if found := _finished(directory, identity):  # another process may have finished it before we got the lock
        if read_record(work) is None and not any(work.glob(TRAINER_CHECKPOINTS)):
            shutil.rmtree(work)
        lock.release()
        return found
    interrupted = read_record(work)
    _require_resumable(work, interrupted, identity)
    if interrupted is not None and interrupted.get("state") == "finished":  # killed before the rename
        require_finished(work, interrupted)
        _publish(work, directory)
        lock.release()
        return Run(directory, directory, interrupted, finished=True, results=interrupted["results"])
    record = {
        **identity, "state": "running", "argv": argv, **environment(),
        "began": time.time(), "attempts": _earlier_attempts(work, interrupted),
    }  # fmt: skip
    for leftover in work.rglob(f".*{UNFINISHED}"):  # of a killed attempt: it must not become part of the result
        leftover.unlink()
    write_record(work, record)
    return Run(directory, work, record, finished=False, lock=lock, fresh=interrupted is None)


def _publish(work: Path, directory: Path) -> None:
    """Rename the directory of a run that is complete; only then remove what an attempt could go on from."""
    os.replace(work, directory)
    (directory / LOCK).unlink(missing_ok=True)
    shutil.rmtree(directory / SCRATCH, ignore_errors=True)


def _earlier_attempts(work: Path, interrupted: dict[str, Any] | None) -> list[dict[str, float]]:
    """Attempts so far; one that was killed lasted at least until it wrote its last file."""
    if interrupted is None:
        return []
    require_running(work, interrupted)
    last = max(path.lstat().st_mtime for path in work.rglob("*"))
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
    while True:
        try:
            run = begin_run(directory, stage=stage, config=config, inputs=inputs, argv=argv)
            break
        except Busy:
            if not is_patient():
                raise
            time.sleep(LOOK)
    try:
        yield run
        if not run.finished:
            run.finish()
    except UserError as error:
        if isinstance(error, Stopped) or is_disk_failure(error.__cause__ or error):
            run.release()
        elif not run.finished:
            run.abandon()
        raise
    except BaseException:
        run.release()
        raise


def add_results(directory: Path, **results: Any) -> None:
    """Add values to the `results` of a finished run, such as why it was made; equal ones change nothing."""
    record = read_record(directory)
    assert record is not None
    wanted = record["results"] | as_json(results)
    if wanted != record["results"]:
        write_record(directory, record | {"results": wanted})


def add_text(directory: Path, name: str, text: str) -> None:
    """Write a text file into a finished run, new or in place of its own, and its hash into the record."""
    record = read_record(directory)
    assert record is not None
    write_text(directory / name, text)
    [state] = hash_files({name: directory / name}, remember=False).values()
    write_record(directory, record | {"outputs": {**record["outputs"], name: asdict(state)}})


def size_on_disk(directory: Path) -> int:
    """Bytes of all files under `directory`."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def payload(work: Path) -> list[Path]:
    """Files of a work directory that the finished run will hold beside its record, sorted."""
    top = sorted(path for path in work.iterdir() if path.name not in (RECORD, LOCK, SCRATCH))
    return [file for path in top for file in sorted([path, *path.rglob("*")]) if file.is_file()]


def _finished(directory: Path, identity: dict[str, Any]) -> Run | None:
    record = read_record(directory)
    if record is None:
        return None
    require_equal(directory, record, identity, "holds another run")
    require_finished(directory, record)
    shutil.rmtree(directory / SCRATCH, ignore_errors=True)  # its process was killed after the rename
    return Run(directory, directory, record, finished=True, results=record["results"])


def _require_resumable(work: Path, interrupted: dict[str, Any] | None, identity: dict[str, Any]) -> None:
    """What an interrupted attempt wrote is resumed only under the same config and inputs."""
    if interrupted is not None:
        require_equal(work, interrupted, identity, "holds an interrupted run of another configuration")


def _refuse_foreign(directory: Path) -> None:
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UserError(f"{directory} exists and is not a run of this tool; choose another output=DIR")
