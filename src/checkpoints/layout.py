"""The safetensors format: an 8-byte length, a JSON table of contents, then the bytes of the tensors."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

import torch

from src.utils.errors import UserError, first_differences

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
SHARD = re.compile(r"model-(\d+)-of-(\d+)\.safetensors")
HEADER_LIMIT = 100_000_000  # bytes; the limit of the reference implementation

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class TensorInfo:
    """Shape and dtype of a tensor that is not loaded."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def numel(self) -> int:
        """Number of elements (1 for a scalar)."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size of the stored tensor in bytes."""
        return self.numel * self.dtype.itemsize


@dataclass(frozen=True)
class Entry:
    """Position of a stored tensor: its file, the offset of its first byte, its shape and dtype."""

    file: Path
    offset: int
    info: TensorInfo


def read_header(path: Path) -> dict[str, Entry]:
    """Read the table of contents of one safetensors file.

    Raises:
        UserError: The file is truncated or not in this format, or a tensor's bytes do not fit its shape and dtype.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, HEADER_LIMIT):
            raise UserError(f"{path} is truncated or not a safetensors file: {size} bytes, but a header of {length}")
        table = _parse(path, file.read(length))
    table.pop("__metadata__", None)
    entries = {name: _entry(path, name, fields, 8 + length, size) for name, fields in table.items()}
    _require_contiguous(path, entries, 8 + length, size)
    return entries


def read_index(directory: Path) -> dict[str, str]:
    """Read which file holds each tensor of a sharded checkpoint.

    Raises:
        UserError: The index is malformed, or names missing files.
    """
    path = directory / INDEX_FILE
    try:
        weight_map = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        files = sorted({str(file) for file in weight_map.values()})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} is corrupt: expected a JSON object with a weight_map") from error
    outside = [file for file in files if PurePath(file).is_absolute() or ".." in PurePath(file).parts]
    if outside:
        raise UserError(first_differences(f"{path} names files outside of its directory", outside))
    absent = [file for file in files if not (directory / file).is_file()]
    if absent:
        raise UserError(first_differences(f"{path} names missing shards", absent))
    return {str(name): str(file) for name, file in weight_map.items()}


def shards_without_index(directory: Path) -> list[Path]:
    """List the shards of a checkpoint whose index is gone; nothing where there are none.

    Raises:
        UserError: Some of the shards that their names announce are absent, or the directory holds two sets of them.
    """
    found = {path: SHARD.fullmatch(path.name) for path in sorted(directory.glob("model-*-of-*.safetensors"))}
    shards = {path: (int(match[1]), int(match[2])) for path, match in found.items() if match}
    totals = sorted({total for _, total in shards.values()})
    if not totals:
        return []
    if len(totals) > 1:
        raise UserError(f"{directory} has no {INDEX_FILE} and shards of several checkpoints: of {totals}; keep one set")
    absent = sorted(set(range(1, totals[0] + 1)) - {number for number, _ in shards.values()})
    if absent:
        names = [f"model-{number:05d}-of-{totals[0]:05d}.safetensors" for number in absent]
        raise UserError(first_differences(f"{directory} has no {INDEX_FILE} and lacks shards", names))
    return list(shards)


def pack_header(table: Mapping[str, TensorInfo]) -> tuple[bytes, dict[str, int]]:
    """Build the header of a safetensors file that holds `table` in order, and the offset of every tensor."""
    fields: dict[str, object] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, info in table.items():
        end = position + info.nbytes
        fields[name] = {"dtype": NAMES[info.dtype], "shape": list(info.shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(fields, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the format requires the data to begin at a multiple of 8 bytes
    start = 8 + len(text)
    offsets: dict[str, int] = {}
    for name, info in table.items():
        offsets[name] = start
        start += info.nbytes
    return len(text).to_bytes(8, "little") + text, offsets


def read_into(entry: Entry, start: int, out: torch.Tensor) -> None:
    """Read elements [start, start + len(out)) of a tensor, in storage order.

    Args:
        entry: The tensor.
        start: First element.
        out: One-dimensional, on the CPU, in the stored dtype.

    Raises:
        UserError: The file ends early.
    """
    assert out.dtype == entry.info.dtype
    assert 0 <= start <= start + out.numel() <= entry.info.numel
    if out.numel() == 0:
        return
    view = memoryview(out.view(torch.uint8).numpy())
    position = entry.offset + start * out.itemsize
    descriptor = os.open(entry.file, os.O_RDONLY)
    try:
        done = 0
        while done < len(view):
            count = os.preadv(descriptor, [view[done:]], position + done)
            if count == 0:
                raise UserError(f"{entry.file} is truncated: it ends {len(view) - done} bytes early")
            done += count
    finally:
        os.close(descriptor)


def prefetch(entry: Entry) -> None:
    """Ask the operating system to read a tensor into its page cache; does nothing if that is not supported."""
    if hasattr(os, "posix_fadvise"):
        descriptor = os.open(entry.file, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, entry.offset, entry.info.nbytes, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(descriptor)


def _require_contiguous(path: Path, entries: Mapping[str, Entry], start: int, size: int) -> None:
    """Require that the tensors fill the file without holes and overlaps, as the format demands."""
    end, before = start, "the header"
    for name, entry in sorted(entries.items(), key=lambda pair: (pair[1].offset, pair[1].info.nbytes)):
        if entry.offset != end:
            what = "overlaps" if entry.offset < end else "leaves a hole after"
            raise UserError(f"{path} is corrupt: {name!r} at byte {entry.offset} {what} {before}, which ends at {end}")
        end, before = end + entry.info.nbytes, repr(name)
    if end != size:
        raise UserError(f"{path} is corrupt: its tensors end at byte {end} of {size}")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name occurs twice")
    return dict(pairs)


def _parse(path: Path, text: bytes) -> dict[str, object]:
    try:
        table = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is corrupt: its safetensors header is not JSON ({error})") from error
    if not isinstance(table, dict):
        raise UserError(f"{path} is corrupt: its safetensors header is not a JSON object")
    return table


def _entry(path: Path, name: str, fields: object, data_start: int, size: int) -> Entry:
    try:
        assert isinstance(fields, dict)
        shape, (start, end) = tuple(fields["shape"]), fields["data_offsets"]
        assert all(type(number) is int for number in (*shape, start, end))
        code = str(fields["dtype"])
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is corrupt: malformed header entry of {name!r}") from error
    if code not in DTYPES:
        raise UserError(f"{path}: tensor {name!r} has dtype {code}, which is not one of {', '.join(DTYPES)}")
    info = TensorInfo(shape, DTYPES[code])
    if start < 0 or min(shape, default=0) < 0 or end - start != info.nbytes:
        raise UserError(f"{path} is corrupt: {name!r} of shape {list(shape)} and {code} spans {end - start} bytes")
    if data_start + end > size:
        raise UserError(f"{path} is truncated: {name!r} ends at byte {data_start + end} of {size}")
    return Entry(path, data_start + start, info)
