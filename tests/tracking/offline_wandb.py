"""Read back what an offline run of Weights & Biases has written to disk, from its transaction log.

The log is that of LevelDB: blocks of 32 KiB, each with chunks of (checksum, length, type) and data, after a header of
seven bytes; type 1 is a whole record, 2, 3 and 4 its first, middle and last part. A record is a protobuf message.
"""

from __future__ import annotations

import gc
import json
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import wandb
from wandb.proto.wandb_internal_pb2 import Record

BLOCK, HEADER = 32768, 7
STEP = "trainer/global_step"


@dataclass(frozen=True)
class OfflineArtifact:
    """A version of an artifact, as a run logs or uses it."""

    name: str
    kind: str
    is_used: bool
    digest: str
    files: dict[str, str]
    references: dict[str, str]

    @property
    def hashes(self) -> dict[str, str]:
        """Content of its `hashes.json`."""
        found: dict[str, str] = json.loads(Path(self.files["hashes.json"]).read_text())
        return found


@dataclass
class OfflineRun:
    """One run: its names, config, rows of its history by training step, summary, media, artifacts and exit code."""

    folder: Path
    name: str = ""
    id: str = ""
    project: str = ""
    group: str = ""
    job_type: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    artifacts: list[OfflineArtifact] = field(default_factory=list)
    exit_code: int | None = None

    @property
    def history(self) -> dict[int, dict[str, Any]]:
        """Values by training step."""
        found: dict[int, dict[str, Any]] = {}
        for row in self.rows:
            if STEP in row:
                found.setdefault(row[STEP], {}).update(row)
        return found

    @property
    def media(self) -> dict[str, tuple[str, Path]]:
        """Kind and file of every table, figure and page."""
        found = {name: value for row in self.rows for name, value in row.items() if isinstance(value, dict)}
        return {
            name: (value["_type"], self.folder / "files" / value["path"])
            for name, value in found.items()
            if "path" in value
        }

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """All tables."""
        found = {}
        for name, (kind, path) in self.media.items():
            if kind == "table-file":
                table = json.loads(path.read_text())
                found[name] = pd.DataFrame(table["data"], columns=table["columns"])
        return found

    def artifact_names(self, is_used: bool) -> list[str]:
        """Names of the artifacts that the run used, or logged."""
        return [one.name for one in self.artifacts if one.is_used == is_used and not one.name.startswith("run-")]


def offline_runs(directory: Path) -> list[OfflineRun]:
    """All runs below a directory, in the order of their start, once the process that writes them has ended."""
    wandb.teardown()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its artifacts leave their temporary directories to the garbage collector
        gc.collect()
    return [_read(path) for path in sorted(directory.glob("wandb/offline-run-*/run-*.wandb"))]


def _read(path: Path) -> OfflineRun:
    run = OfflineRun(path.parent)
    for data in _records(path.read_bytes()):
        record = Record.FromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found = record.run
            run.name, run.id, run.project = found.display_name, found.run_id, found.project
            run.group, run.job_type, run.tags = found.run_group, found.job_type, list(found.tags)
            run.config |= {item.key: json.loads(item.value_json) for item in found.config.update}
        elif kind == "config":
            run.config |= {item.key: json.loads(item.value_json) for item in record.config.update}
        elif kind == "history":
            run.rows.append(_values(record.history.item))
        elif kind == "summary":
            run.summary |= _values(record.summary.update)
        elif kind == "artifact":
            run.artifacts.append(_artifact(record.artifact))
        elif kind == "exit":
            run.exit_code = record.exit.exit_code
    return run


def _values(items: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in items:
        *outer, last = list(item.nested_key) or [item.key]
        place = found
        for key in outer:
            place = place.setdefault(key, {})
        place[last] = json.loads(item.value_json)
    return found


def _artifact(found: Any) -> OfflineArtifact:
    entries = found.manifest.contents
    return OfflineArtifact(
        found.name,
        found.type,
        found.use_after_commit,
        found.digest,
        {entry.path: entry.local_path for entry in entries if not entry.ref},
        {entry.path: entry.ref for entry in entries if entry.ref},
    )


def _records(log: bytes) -> Iterator[bytes]:
    place, parts = HEADER, b""
    while place + HEADER <= len(log):
        left = BLOCK - place % BLOCK
        if left < HEADER:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", log, place)
        if length == 0:
            return
        parts += log[place + HEADER : place + HEADER + length]
        place += HEADER + length
        if kind in (1, 4):
            yield parts
            parts = b""
