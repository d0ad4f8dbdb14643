from __future__ import annotations

import shutil
from pathlib import Path

import nltk
import pytest
from nltk.corpus.reader.wordnet import WordNetCorpusReader

from src.evaluation.text import wordnet
from src.evaluation.text.wordnet import WordNet, find_wordnet, prepare_wordnet
from src.utils.errors import UserError

LICENSE = "  1 This software and database is being provided to you\n"
# lines of the data files without their offsets, and the line of each word
SYNSETS = {
    "noun": ["03 n 03 car 0 auto 0 motor_car 0 000 | a motor vehicle", "03 n 01 man 0 000 | an adult person"],
    "verb": ["30 v 02 run 0 go_fast 1 000 01 + 02 00 | move fast"],
    "adj": ["00 s 02 quick(p) 0 fast 0 001 & 00001740 a 0000 | rapid"],
    "adv": [],
}
ENTRIES = {
    "noun": {"car": 0, "auto": 0, "motor_car": 0, "man": 1},
    "verb": {"run": 0},
    "adj": {"quick": 0, "fast": 0},
    "adv": {},
}
IRREGULAR = {"noun": "", "verb": "ran run\n", "adj": "", "adv": ""}
CODES = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A database of four synonym sets in WordNet's own format."""
    for part, lines in SYNSETS.items():
        text, offsets = LICENSE, []
        for line in lines:
            offsets.append(len(text))
            text += f"{offsets[-1]:08d} {line}  \n"
        (tmp_path / f"data.{part}").write_text(text)
        index = [
            f"{word} {CODES[part]} 1 0 1 0 {offsets[place]:08d}  \n" for word, place in sorted(ENTRIES[part].items())
        ]
        (tmp_path / f"index.{part}").write_text(LICENSE + "".join(index))
        (tmp_path / f"{part}.exc").write_text(IRREGULAR[part])
    return tmp_path


def names(database: WordNet, word: str) -> list[list[str]]:
    return [[lemma.name() for lemma in synset.lemmas()] for synset in database.synsets(word)]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("car", [["car", "auto", "motor_car"]]),
        ("Car", [["car", "auto", "motor_car"]]),
        ("cars", [["car", "auto", "motor_car"]]),
        ("men", [["man"]]),
        ("ran", [["run", "go_fast"]]),
        ("running", []),  # "runn" and "runne" have no entry
        ("fastest", [["quick", "fast"]]),  # the position mark (p) is no part of the word
        ("ca", []),
        ("", []),
        ("car n", []),
        ("zebra", []),
    ],
)
def test_lookup(small: Path, word: str, expected: list[list[str]]) -> None:
    assert names(WordNet(small), word) == expected


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"index\.noun.*missing; .*src\.evaluation\.wordnet"):
        WordNet(tmp_path)


def test_found_where_the_environment_says(small: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WNSEARCHDIR", str(small))
    assert find_wordnet() == small
    root = tmp_path / "nltk"
    shutil.copytree(small, root / "corpora" / "wordnet", ignore=shutil.ignore_patterns("nltk"))
    monkeypatch.setenv("WNSEARCHDIR", "")
    monkeypatch.setenv("NLTK_DATA", str(root))
    monkeypatch.setattr(wordnet, "PREPARED", tmp_path / "absent")
    if not Path("/usr/share/wordnet/index.noun").is_file():
        assert find_wordnet() == root / "corpora" / "wordnet"


def test_preparing_without_apt_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"apt-get and dpkg.*WNSEARCHDIR"):
        prepare_wordnet(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_failed_download_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool, text in {"apt-get": "#!/bin/sh\necho no network >&2\nexit 100\n", "dpkg": "#!/bin/sh\n"}.items():
        (tools / tool).write_text(text)
        (tools / tool).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/bin:/usr/bin")
    with pytest.raises(UserError, match="no network"):
        prepare_wordnet(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_equals_nltks_reader_over_the_whole_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = find_wordnet()
    if place is None:
        pytest.skip("no WordNet on this machine (python -m src.evaluation.text.wordnet)")
    corpus = tmp_path / "corpora" / "wordnet"
    shutil.copytree(place, corpus)
    # nltk wants two more files, whose content plays no part in looking up synonyms
    (corpus / "lexnames").write_text("".join(f"{number:02d}\tname{number}\t1\n" for number in range(45)))
    (corpus / "index.sense").touch()
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    with pytest.warns(UserWarning, match="multilingual"):
        reference = WordNetCorpusReader(nltk.data.find("corpora/wordnet"), None)
    database = WordNet(place)
    lines = [line for part in CODES for line in (place / f"index.{part}").read_text().splitlines() if line[0] != " "]
    words = [line.split()[0] for line in lines[::60]]
    for word in [word + suffix for word in words for suffix in ("", "s", "ed", "ing")]:
        expected = [[lemma.name() for lemma in synset.lemmas()] for synset in reference.synsets(word)]
        assert names(database, word) == expected, word
