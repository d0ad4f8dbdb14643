from __future__ import annotations

import time
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import src.data.cache as cache_module
import src.data.shards as shards_module
from src.data.cache import token_table
from src.data.shards import Tokenization
from src.data.tokenize import LengthReport
from src.utils.errors import Stopped, UserError
from tests.data.row_filter import Without
from tests.lit_modules import tiny

ROWS = [*tiny.rows("a", 25), *tiny.rows("long", 5, length=60)]
CUT = 2  # answers of 44 and 58 bytes after prompts of 25
TOKENIZATION = Tokenization(tiny.tokenizer(), 64)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards_module, "SHARD_ROWS", 10)


def never() -> Any:
    raise AssertionError("rows were read again")


def test_the_cached_table_is_the_table(tmp_path: Path) -> None:
    table, report = token_table(lambda: ROWS, TOKENIZATION)
    cached, counted = token_table(lambda: ROWS, TOKENIZATION, data_key="rows", cache=tmp_path)
    assert cached.fingerprint() == table.fingerprint()
    assert list(cached.ids) == list(table.ids)
    assert counted == report
    assert report.truncated_answers == CUT
    assert isinstance(cached.tokens, np.memmap)
    opened, again = token_table(never, TOKENIZATION, data_key="rows", cache=tmp_path)
    assert opened.fingerprint() == table.fingerprint()
    assert again == report


def test_rows_that_a_filter_leaves_out_are_counted_and_part_of_the_key(tmp_path: Path) -> None:
    """Of a0 ... a24 and long0 ... long4, four end with a 3 and two with a 5."""
    for keep, left in ((Without("3"), 4), (Without("5"), 2)):
        filtered = replace(TOKENIZATION, keep=keep)
        table, report = token_table(lambda: ROWS, filtered)
        assert (len(table), report.rows, report.contaminated) == (30 - left, 30 - left, left)
        for examples in (lambda: ROWS, never):
            cached, counted = token_table(examples, filtered, data_key="rows", cache=tmp_path)
            assert counted == report
            assert cached.fingerprint() == table.fingerprint()
    assert str(report).endswith("; 2 more contain a benchmark item")
    for place in (None, tmp_path):
        with pytest.raises(UserError, match=r"mine: all 30 rows .* benchmark item; change data.decontaminate"):
            token_table(lambda: ROWS, replace(TOKENIZATION, keep=Without("")), cache=place, label="mine")


def test_without_a_key_the_rows_are_the_key(tmp_path: Path) -> None:
    token_table(lambda: ROWS, TOKENIZATION, cache=tmp_path)
    token_table(lambda: ROWS, TOKENIZATION, cache=tmp_path)
    token_table(lambda: ROWS[:5], TOKENIZATION, cache=tmp_path)
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 2


def test_an_interrupted_one_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, done = shards_module._write_shard, list[str]()

    def stop_at_the_second(rows: Any, path: Path, **how: Any) -> None:
        if len(done) == 1:
            raise KeyboardInterrupt
        done.append(path.name)
        write(rows, path, **how)

    with monkeypatch.context() as patch:
        patch.setattr(shards_module, "_write_shard", stop_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            token_table(lambda: ROWS, TOKENIZATION, data_key="rows", cache=tmp_path)

    def record(rows: Any, path: Path, **how: Any) -> None:
        done.append(path.name)
        write(rows, path, **how)

    monkeypatch.setattr(shards_module, "_write_shard", record)
    table, report = token_table(lambda: ROWS, TOKENIZATION, data_key="rows", cache=tmp_path)
    assert done == ["000000.npz", "000001.npz", "000002.npz"]
    assert table.fingerprint() == token_table(lambda: ROWS, TOKENIZATION)[0].fingerprint()
    assert report == LengthReport(30, truncated_answers=CUT)


def test_a_killed_process_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: Any) -> Any:
        raise BrokenProcessPool
        yield

    monkeypatch.setattr(cache_module, "write_shards", broken)
    with pytest.raises(Stopped, match=r"mine: .* killed, .* set data.workers below 3"):
        token_table(lambda: ROWS, TOKENIZATION, data_key="rows", cache=tmp_path, workers=3, label="mine")


def test_the_process_with_the_progress_bar_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[Path] = []
    monkeypatch.setattr(cache_module, "_wait_for", waited.append)
    for rank in ("0", "1"):
        monkeypatch.setenv("LOCAL_RANK", rank)
        token_table(lambda: ROWS, TOKENIZATION, data_key="rows", cache=tmp_path)
    assert len(waited) == 1
    monkeypatch.undo()
    started = time.monotonic()
    cache_module._wait_for(waited[0])  # the table is there
    monkeypatch.setattr(cache_module, "HEAD_START", 0.2)
    cache_module._wait_for(tmp_path / "nothing")
    assert 0.2 <= time.monotonic() - started < cache_module.HEAD_START + 5


@pytest.mark.parametrize("cached", [True, False])
def test_nothing_to_train_on(tmp_path: Path, cached: bool) -> None:
    place = tmp_path if cached else None
    with pytest.raises(UserError, match=r"codegen: no rows; expected at least one"):
        token_table(list, TOKENIZATION, cache=place, label="codegen")
    with pytest.raises(UserError, match=r"rows: all 30 rows are too long; raise strategy.max_length"):
        token_table(lambda: ROWS, Tokenization(tiny.tokenizer(), 9, "drop"), cache=place)


@pytest.mark.parametrize("name", ["tokens.npy", "starts.npy", "ids.json", "report.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "null", "remove"])
def test_a_damaged_cache_is_made_again(tmp_path: Path, name: str, damage: str, capsys: Any) -> None:
    table, report = token_table(lambda: ROWS, TOKENIZATION, data_key="rows", cache=tmp_path)
    expected = table.fingerprint()
    [path] = tmp_path.glob(f"*/{name}")
    content = path.read_bytes()
    del table  # its memory map
    flipped = content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]
    new = {"flip": flipped, "truncate": content[: len(content) // 2], "null": b"null", "remove": None}[damage]
    path.unlink()
    if new is not None:
        path.write_bytes(new)
    again, counted = token_table(lambda: ROWS, TOKENIZATION, data_key="rows", cache=tmp_path)
    assert again.fingerprint() == expected
    assert counted == report
    assert ("is damaged, and is made again" in capsys.readouterr().err) == ((name, damage) != ("report.json", "remove"))


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "file").write_text("")
    table, _ = token_table(lambda: ROWS, TOKENIZATION, data_key="rows", cache=tmp_path / "file" / "cache")
    assert table.fingerprint() == token_table(lambda: ROWS, TOKENIZATION)[0].fingerprint()
    assert "cannot write the cache" in capsys.readouterr().err


def test_a_damaged_shard_of_an_interrupted_attempt_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(cache_module, "_joined", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            token_table(lambda: ROWS, TOKENIZATION, data_key="rows", cache=tmp_path)
    first, second, third = sorted(tmp_path.glob("*/shards/*.npz"))
    first.write_bytes(first.read_bytes()[:100] + bytes(100))
    second.write_bytes(b"")
    table, _ = token_table(lambda: ROWS, TOKENIZATION, data_key="rows", cache=tmp_path)
    assert table.fingerprint() == token_table(lambda: ROWS, TOKENIZATION)[0].fingerprint()
    assert not third.exists()
