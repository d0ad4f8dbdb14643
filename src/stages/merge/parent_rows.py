"""Rows of tables about checkpoints that are or may be parents of a merge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from src.checkpoints.fingerprint import weight_files
from src.merging.tensors.lora_adapter import is_adapter
from src.merging.tensors.parent import Parent
from src.runs.paths import hub_origin

PARENT_COLUMNS = ("parent", "directory", "revision", "format", "files", "size", "dtype", "parameters", "tensors")


def parent_rows(parents: Mapping[str, Parent]) -> Iterator[tuple[str, ...]]:
    """One row per parent: where it is, what it holds and how it is stored."""
    for label, parent in parents.items():
        files = weight_files(parent.path)
        stored = "safetensors" if any(file.suffix == ".safetensors" for file in files) else "pickle"
        kind = f"adapter, {stored}" if is_adapter(parent.path) else stored
        dtypes = Counter[str]()
        for info in parent.table.values():
            dtypes[str(info.dtype).removeprefix("torch.")] += info.numel
        origin = hub_origin(parent.path)
        yield (
            label,
            f"{origin[0]} ({parent.path})" if origin else str(parent.path.absolute()),
            origin[1][:12] if origin else "",
            kind,
            str(len(files)),
            gigabytes(sum(file.stat().st_size for file in files)),
            ", ".join(dtype for dtype, _ in dtypes.most_common()),
            f"{dtypes.total():,}",
            f"{len(parent.computed)} of {len(parent.table)} adapted" if parent.computed else str(len(parent.table)),
        )


def gigabytes(size: int) -> str:
    """A number of bytes in GB, a small one in MB."""
    return f"{size / 1e9:.3g} GB" if size >= 1e7 else f"{size / 1e6:.3g} MB"
