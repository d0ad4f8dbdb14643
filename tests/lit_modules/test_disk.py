from __future__ import annotations

from collections import namedtuple
from pathlib import Path

import pytest

from src.lit_modules.disk import checkpoint_bytes, require_space
from src.lit_modules.memory import GIB
from src.utils.errors import UserError
from tests.lit_modules import tiny

Usage = namedtuple("Usage", "total used free")


def test_bytes_of_a_checkpoint_by_hand() -> None:
    """float32 weights and two float32 moments: 12 bytes; 8-bit ones: 6.1; frozen weights where all are saved."""
    network = tiny.network()
    count = sum(parameter.numel() for parameter in network.parameters())
    assert checkpoint_bytes(network, "adamw", sharded=False) == 12 * count
    for kind in ("adamw8bit", "paged_adamw8bit"):
        assert checkpoint_bytes(network, kind, sharded=False) == pytest.approx(6.1 * count)
    network.requires_grad_(False)
    assert checkpoint_bytes(network, "adamw", sharded=False) == 0
    assert checkpoint_bytes(network.bfloat16(), "adamw", sharded=True) == 2 * count


def test_a_disk_that_is_too_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda place: Usage(0, 0, 250 * GIB))
    directory = tmp_path / "not" / "there"
    require_space(directory, 85 * GIB, keep=1)
    with pytest.raises(UserError, match=r"need 255.0 GiB \(2 kept .* 85.0 GiB each\), but .* 250.0 GiB free; .*keep=1"):
        require_space(directory, 85 * GIB, keep=2)
    directory.mkdir(parents=True)
    (directory / "step-00000001.ckpt").write_bytes(b"x" * 1000)
    with pytest.raises(UserError, match=r"checkpoint\.keep=1"):
        require_space(directory, (250 * GIB + 2000) / 2, keep=1)
    require_space(directory, (250 * GIB + 1000) / 2, keep=1)  # the earlier one is replaced
