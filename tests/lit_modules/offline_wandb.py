"""Read back what an offline run of Weights & Biases has written to disk, from its transaction log.

The log is that of LevelDB: blocks of 32 KiB, each with chunks of (checksum, length, type) and data, after a header of
seven bytes; type 1 is a whole record, 2, 3 and 4 its first, middle and last part. A record is a protobuf message.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import wandb
from wandb.proto.wandb_internal_pb2 import Record

BLOCK, HEADER = 32768, 7


@dataclass
class OfflineRun:
    """One run: its names, config, values of its history by training step, summary and exit code."""

    name: str = ""
    id: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    history: dict[int, dict[str, Any]] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None


def offline_runs(directory: Path) -> list[OfflineRun]:
    """All runs below a directory, in the order of their start, once the process that writes them has ended."""
    wandb.teardown()
    return [_read(path) for path in sorted(directory.glob("wandb/offline-run-*/run-*.wandb"))]


def _read(path: Path) -> OfflineRun:
    run = OfflineRun()
    for data in _records(path.read_bytes()):
        record = Record.FromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run.name, run.id = record.run.display_name, record.run.run_id
            run.config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        elif kind == "config":
            run.config |= {item.key: json.loads(item.value_json) for item in record.config.update}
        elif kind == "history":
            row = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            run.history.setdefault(row["trainer/global_step"], {}).update(row)
        elif kind == "summary":
            run.summary |= {
                item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.summary.update
            }
        elif kind == "exit":
            run.exit_code = record.exit.exit_code
    return run


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
