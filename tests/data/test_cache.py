from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import src.data.cache as cache_module
from src.data.cache import Tokenising, token_table
from src.data.tokenise import LengthReport
from src.utils.errors import UserError
from tests.lit_modules import tiny

ROWS = [*tiny.rows("a", 25), *tiny.rows("long", 5, length=60)]
CUT = 2  # answers of 44 and 58 bytes after prompts of 25
TOKENISING = Tokenising(tiny.tokenizer(), 64)


def never() -> Any:
    raise AssertionError("rows were read again")


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "SHARD_ROWS", 10)


def test_the_cached_table_is_the_table(tmp_path: Path) -> None:
    table, report = token_table(lambda: ROWS, TOKENISING)
    cached, counted = token_table(lambda: ROWS, TOKENISING, data_key="rows", cache=tmp_path)
    assert cached.fingerprint() == table.fingerprint()
    assert list(cached.ids) == list(table.ids)
    assert counted == report
    assert report.cut_answers == CUT
    assert isinstance(cached.tokens, np.memmap)
    opened, again = token_table(never, TOKENISING, data_key="rows", cache=tmp_path)
    assert opened.fingerprint() == table.fingerprint()
    assert again == report


class Without:
    """A filter that leaves out the rows whose ids end with a letter."""

    def __init__(self, letter: str) -> None:
        self.key = self.letter = letter

    def __call__(self, rows: Any) -> Any:
        return [row for row in rows if not row.id.endswith(self.letter)]


def test_rows_that_a_filter_leaves_out_are_counted_and_part_of_the_key(tmp_path: Path) -> None:
    """Of a0 ... a24 and long0 ... long4, four end with a 3 and two with a 5."""
    for keep, left in ((Without("3"), 4), (Without("5"), 2)):
        table, report = token_table(lambda: ROWS, TOKENISING, keep=keep)
        assert (len(table), report.rows, report.contaminated) == (30 - left, 30 - left, left)
        for examples in (lambda: ROWS, never):
            cached, counted = token_table(examples, TOKENISING, keep=keep, data_key="rows", cache=tmp_path)
            assert counted == report
            assert cached.fingerprint() == table.fingerprint()
    assert str(report).endswith("; 2 more hold a benchmark item")
    with pytest.raises(UserError, match=r"mine: all 30 rows hold a benchmark item; set data.decontaminate=false"):
        token_table(lambda: ROWS, TOKENISING, keep=Without(""), label="mine")


def test_without_a_key_the_rows_are_the_key(tmp_path: Path) -> None:
    token_table(lambda: ROWS, TOKENISING, cache=tmp_path)
    token_table(lambda: ROWS, TOKENISING, cache=tmp_path)
    token_table(lambda: ROWS[:5], TOKENISING, cache=tmp_path)
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 2


def test_all_that_decides_the_tokens_is_in_the_key() -> None:
    keys = [
        TOKENISING.key(),
        Tokenising(tiny.tokenizer(), 65).key(),
        Tokenising(tiny.tokenizer(), 64, "drop").key(),
        Tokenising(tiny.tokenizer(template="x"), 64).key(),
        Tokenising(tiny.tokenizer(eos="<|endoftext|>"), 64).key(),
    ]
    assert all(keys[i] != keys[j] for i in range(5) for j in range(i))
    assert Tokenising(tiny.tokenizer(), 64).key() == keys[0]


def test_an_interrupted_one_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, done = cache_module._write_shard, list[str]()

    def stop_at_the_second(rows: Any, path: Path, tokenising: Tokenising) -> None:
        if len(done) == 1:
            raise KeyboardInterrupt
        done.append(path.name)
        write(rows, path, tokenising)

    with monkeypatch.context() as patch:
        patch.setattr(cache_module, "_write_shard", stop_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            token_table(lambda: ROWS, TOKENISING, data_key="rows", cache=tmp_path)

    def record(rows: Any, path: Path, tokenising: Tokenising) -> None:
        done.append(path.name)
        write(rows, path, tokenising)

    monkeypatch.setattr(cache_module, "_write_shard", record)
    table, report = token_table(lambda: ROWS, TOKENISING, data_key="rows", cache=tmp_path)
    assert done == ["000000.npz", "000001.npz", "000002.npz"]
    assert table.fingerprint() == token_table(lambda: ROWS, TOKENISING)[0].fingerprint()
    assert report == LengthReport(30, cut_answers=CUT)


@pytest.mark.slow
def test_processes_give_the_same_table(tmp_path: Path) -> None:
    table, _ = token_table(lambda: ROWS, TOKENISING, data_key="rows", cache=tmp_path, workers=2)
    assert table.fingerprint() == token_table(lambda: ROWS, TOKENISING)[0].fingerprint()


@pytest.mark.parametrize("cached", [True, False])
def test_nothing_to_train_on(tmp_path: Path, cached: bool) -> None:
    place = tmp_path if cached else None
    with pytest.raises(UserError, match=r"codegen: no rows; expected at least one"):
        token_table(list, TOKENISING, cache=place, label="codegen")
    with pytest.raises(UserError, match=r"rows: all 30 rows are too long; raise strategy.max_length"):
        token_table(lambda: ROWS, Tokenising(tiny.tokenizer(), 9, "drop"), cache=place)
