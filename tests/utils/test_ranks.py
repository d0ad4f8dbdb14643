from __future__ import annotations

from typing import Any

import pytest
import torch.distributed

from src.utils.ranks import alone, from_main, wait_for_all


def test_work_of_one_process_meets_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    met: list[str] = []

    def broadcast(box: list[Any], src: int) -> None:
        met.append("broadcast")
        box[0] = "theirs"

    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "broadcast_object_list", broadcast)
    monkeypatch.setattr(torch.distributed, "barrier", lambda: met.append("barrier"))
    with alone():
        assert from_main("mine") == "mine"
        wait_for_all()
    assert met == []
    assert from_main("mine") == "theirs"
    wait_for_all()
    assert met == ["broadcast", "barrier"]
