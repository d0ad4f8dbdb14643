"""Shards: the key of a tokenization, and worker processes that end with their parent."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

import src.data.shards as shards_module
from src.data.cache import token_table
from src.data.shards import Tokenization
from tests.data.row_filter import Without
from tests.lit_modules import tiny

ROWS = [*tiny.rows("a", 25), *tiny.rows("long", 5, length=60)]
TOKENIZATION = Tokenization(tiny.tokenizer(), 64)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards_module, "SHARD_ROWS", 10)


def test_all_that_decides_the_tokens_is_in_the_key() -> None:
    keys = [
        TOKENIZATION.key(),
        Tokenization(tiny.tokenizer(), 65).key(),
        Tokenization(tiny.tokenizer(), 64, "drop").key(),
        Tokenization(tiny.tokenizer(), 64, keep=Without("3")).key(),
        Tokenization(tiny.tokenizer(template="x"), 64).key(),
        Tokenization(tiny.tokenizer(eos="<|endoftext|>"), 64).key(),
    ]
    assert all(keys[i] != keys[j] for i in range(6) for j in range(i))
    assert Tokenization(tiny.tokenizer(), 64).key() == keys[0]


def test_ctrl_c_does_not_reach_processes_that_are_started_then() -> None:
    line = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    with shards_module._interrupts_blocked():
        inside = subprocess.check_output([sys.executable, "-c", line], text=True)
    assert inside.strip() == "True"
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


@pytest.mark.slow
@pytest.mark.parametrize("keep", [None, Without("3")])
def test_processes_give_the_same_table(tmp_path: Path, keep: Any) -> None:
    how = replace(TOKENIZATION, keep=keep)
    found = token_table(lambda: ROWS, how, data_key="rows", cache=tmp_path, workers=2)
    table, report = token_table(lambda: ROWS, how)
    assert found[0].fingerprint() == table.fingerprint()
    assert found[1] == report


class Slow(Without):
    """Says that it has begun, then takes longer than the test."""

    def __call__(self, rows: Any) -> Any:
        Path(self.key).touch()
        time.sleep(600)


def tokenize_slowly(folder: str) -> None:
    shards_module.SHARD_ROWS = 10
    token_table(
        lambda: ROWS,
        replace(TOKENIZATION, keep=Slow(f"{folder}/begun")),
        data_key="rows",
        cache=Path(folder),
        workers=2,
    )


@pytest.mark.slow
def test_processes_end_with_a_killed_parent(tmp_path: Path) -> None:
    line = f"from tests.data.test_shards import tokenize_slowly; tokenize_slowly({str(tmp_path)!r})"
    with subprocess.Popen([sys.executable, "-c", line]) as parent:
        wait_until((tmp_path / "begun").exists)
        workers = psutil.Process(parent.pid).children(recursive=True)
        parent.kill()
    assert len(workers) >= 2
    wait_until(lambda: all(not one.is_running() or one.status() == psutil.STATUS_ZOMBIE for one in workers))


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)
