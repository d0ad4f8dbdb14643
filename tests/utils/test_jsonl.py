"""Caches and journals whose lines carry digests, and damaged JSON Lines."""

import json
from pathlib import Path

import pytest

from src.utils.errors import UserError
from src.utils.jsonl import append_sealed, iterate_jsonl, read_sealed

ROWS = [{"item": "a", "text": "ü\\n"}, {"item": "b", "loss": 0.1}, {"item": "c"}]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    for row in ROWS:
        append_sealed(tmp_path / "cache.jsonl", row)
    return tmp_path / "cache.jsonl"


def test_what_was_appended_is_read(path: Path, capsys) -> None:
    assert read_sealed(path) == ROWS
    assert read_sealed(path.with_name("absent")) == []
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("damage", "kept"),
    [
        (lambda content: content.replace(b"0.1", b"0.2"), [0, 2]),  # edited
        (lambda content: content.replace(b'"b"', b'"\\u0062"'), [0, 1, 2]),  # the same value
        (lambda content: content[:-4] + bytes(4), [0, 1]),  # the tail after a power cut
        (lambda content: content[:-3], [0, 1]),  # truncated
        (lambda content: content.replace(b"loss", b"l\xffss"), [0, 2]),
        (lambda content: b"null\n" + content, [0, 1, 2]),
        (lambda content: b"[" * 100_000 + b"\n" + content, [0, 1, 2]),
        (lambda content: b'{"item": "d"}\n' + content, [0, 1, 2]),  # without a digest
        (lambda content: b"", []),
    ],
)
def test_damaged_lines_are_removed(path: Path, damage, kept) -> None:
    path.write_bytes(damage(path.read_bytes()))
    assert read_sealed(path) == [ROWS[index] for index in kept]
    append_sealed(path, {"item": "e"})
    assert [row["item"] for row in read_sealed(path)] == ["abc"[index] for index in kept] + ["e"]


def test_a_link_is_replaced_and_its_target_stays(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.jsonl"
    link.symlink_to(path)
    before = path.read_bytes()
    assert read_sealed(link) == ROWS
    append_sealed(link, {"item": "d"})
    assert path.read_bytes() == before
    assert len(read_sealed(link)) == 4


def test_a_directory_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a directory"):
        read_sealed(tmp_path)


@pytest.mark.parametrize("line", ["[" * 100_000, '{"a": ' + "1" * 5000 + "}", "null", '{"a"'])
def test_lines_that_no_parser_takes_are_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(ROWS[0]) + "\n" + line + "\n")
    with pytest.raises(UserError, match=r"rows\.jsonl, line 2"):
        list(iterate_jsonl(tmp_path / "rows.jsonl"))
