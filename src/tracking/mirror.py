"""Mirror finished run directories in trackers, each run once, without ever failing the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from src.runs.finished import read_record
from src.runs.record import add_results
from src.tracking.contents import TRACKED, Contents, run_config, run_contents
from src.tracking.trackers import Header, Tracker
from src.utils.errors import UserError, reason_of
from src.utils.progress import say
from src.utils.ranks import is_main_process

_told: set[str] = set()  # trackers whose failure this process has reported


def is_mirrored(directory: Path, names: Mapping[str, Any]) -> bool:
    """Return true if there is nothing to do: no finished run, or all these trackers have it."""
    record = read_record(directory)
    if record is None or record.get("state") != "finished":  # such as a published base
        return True
    return set(names) <= set(record["results"].get(TRACKED, {}))


def mirror(directory: Path, trackers: Mapping[str, Tracker], tags: tuple[str, ...], live: bool = False) -> None:
    """Show a finished run in the trackers that do not have it yet, and record where they keep it.

    A tracker that fails is reported once; the run directory is complete, and the same command tries again.

    Args:
        directory: A run directory.
        trackers: By their names in conf/logger.
        tags: Words to find the run by.
        live: The trackers are open, and have the rows of the training steps.
    """
    record = read_record(directory)
    assert record is not None, directory
    done = dict(record["results"].get(TRACKED, {}))
    missing = {name: tracker for name, tracker in trackers.items() if name not in done}
    if not is_main_process() or not missing:
        return
    samples = max(tracker.samples for tracker in missing.values())
    contents = attempt(", ".join(missing), lambda: run_contents(directory, samples))
    if contents is None:
        for name, tracker in missing.items() if live else ():
            attempt(name, lambda tracker=tracker: tracker.close(False))  # type: ignore[misc]
        return
    header = Header(directory.name, str(record["stage"]), tags, run_config(record, directory))
    for name, tracker in missing.items():
        if place := attempt(name, lambda tracker=tracker: _show(tracker, header, contents, live)):  # type: ignore[misc]
            done[name] = place[0]
    if done != record["results"].get(TRACKED, {}):
        attempt(f"the record of {directory.name}", lambda: add_results(directory, **{TRACKED: done}))


def _show(tracker: Tracker, header: Header, contents: Contents, live: bool) -> tuple[dict[str, Any]]:
    if not live:
        tracker.open(header)
    place = tracker.place()
    try:
        tracker.show(contents)
    except BaseException:
        tracker.close(False)
        raise
    tracker.close(True)
    return (place,)


def attempt(name: str, step: Callable[[], Any]) -> Any:
    """Take a step of a tracker; its failure is one warning per process."""
    try:
        return step()
    except Exception as error:  # each library raises its own errors, and none is worth losing a run
        if name not in _told:
            say(f"warning: logger.{name} failed ({reason_of(error)}); runs are complete, their commands try again")
        _told.add(name)
        return None


def open_live(trackers: Mapping[str, Tracker], header: Header, places: Mapping[str, Any]) -> dict[str, Any]:
    """Open trackers before a training run begins.

    Args:
        trackers: By their names in conf/logger.
        header: Of the run.
        places: What an interrupted attempt of the run returned.

    Returns:
        Where each tracker keeps the run.

    Raises:
        UserError: A tracker cannot be opened; better to fail now than during training.
    """
    found = {}
    for name, tracker in trackers.items():
        earlier = places.get(name, {})
        try:
            tracker.open(Header(header.name, header.job_type, header.tags, header.config, earlier), live=True)
        except UserError:
            raise
        except Exception as error:  # from whatever library the tracker uses
            raise UserError(f"logger.{name} cannot be opened: {reason_of(error)}; or set logger=csv") from error
        found[name] = tracker.place()
    return found
