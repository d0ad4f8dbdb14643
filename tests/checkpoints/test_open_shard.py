"""A shard's file and hash are the same in every order of its parts, through the page cache or past it."""

from __future__ import annotations

import errno
import fcntl
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from src.checkpoints import CheckpointWriter, TensorInfo, open_shard, write_checkpoint
from src.utils.files import sha256_file

TENSORS = {
    "a.bias": torch.randn(17).bfloat16(),
    "b.weight": torch.randn(300, 41),
    "c.weight": torch.randn(5000).half(),
    "d.empty": torch.empty(0, 4),
}
TABLE = {name: TensorInfo(tuple(tensor.shape), tensor.dtype) for name, tensor in TENSORS.items()}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_shard, "CHUNK", open_shard.BLOCK)
    monkeypatch.setattr(open_shard, "DIRECT_BYTES", 1)


def parts(step: int) -> list[tuple[str, int, torch.Tensor]]:
    flat = {name: tensor.reshape(-1) for name, tensor in TENSORS.items()}
    return [(name, i, part[i : i + step]) for name, part in flat.items() for i in range(0, len(part), step)]


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("order", ["forward", "shuffled", "threads"])
def test_parts_in_any_order(tmp_path: Path, direct: bool, order: str) -> None:
    write_checkpoint(tmp_path / "whole", TENSORS)
    todo = parts(97)
    if order == "shuffled":
        todo = [todo[i] for i in torch.randperm(len(todo), generator=torch.Generator().manual_seed(1))]
    with CheckpointWriter(tmp_path / "parts", TABLE, direct=direct) as writer:
        with ThreadPoolExecutor(4 if order == "threads" else 1) as pool:
            list(pool.map(lambda part: writer.write_part(*part), todo))
        for name in TABLE:
            writer.done(name)
    [file] = (tmp_path / "parts").glob("*.safetensors")
    assert file.read_bytes() == (tmp_path / "whole" / file.name).read_bytes()
    assert writer.states[file.name].sha256 == sha256_file(file)
    assert writer.states[file.name].describes(file)


def test_too_many_open_chunks_are_written_without_a_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_shard, "HELD_CHUNKS", 2)
    write_checkpoint(tmp_path / "whole", TENSORS)
    with CheckpointWriter(tmp_path / "parts", TABLE) as writer:
        for part in reversed(parts(97)):
            writer.write_part(*part)
        for name in TABLE:
            writer.done(name)
    [file] = (tmp_path / "parts").glob("*.safetensors")
    assert file.read_bytes() == (tmp_path / "whole" / file.name).read_bytes()
    assert writer.states == {}


def test_a_file_system_that_refuses_direct_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused, write = [], open_shard._write

    def picky(descriptor: int, data: np.ndarray, offset: int) -> None:
        if os.O_DIRECT & fcntl.fcntl(descriptor, fcntl.F_GETFL):
            refused.append(offset)
            raise OSError(errno.EINVAL, "alignment")
        write(descriptor, data, offset)

    monkeypatch.setattr(open_shard, "_write", picky)
    with CheckpointWriter(tmp_path, TABLE, direct=True) as writer:
        for name in TABLE:
            writer.write(name, TENSORS[name])
    [file] = tmp_path.glob("*.safetensors")
    assert len(refused) == 1
    assert writer.states[file.name].sha256 == sha256_file(file)
