"""WordNet 3.0 straight from its database files, for METEOR's synonyms.

The files (`index.*`, `data.*`, `*.exc`) are sorted text; a word is found by bisection in a memory map, so nothing is
loaded and nothing is downloaded when a stage runs. Debian's `wordnet-base` installs them in /usr/share/wordnet, NLTK
data in corpora/wordnet, and `python -m src.evaluation.text.wordnet DIR` fetches Debian's package into DIR without root.
"""

from __future__ import annotations

import mmap
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from src.utils.errors import UserError

PARTS_OF_SPEECH = ("noun", "verb", "adj", "adv")
PREPARED = Path("data/wordnet")
# WordNet's own detachment rules (man page morphy.7WN): suffix -> ending of the base form.
_SUFFIXES = {
    "noun": ("s:", "ses:s", "ves:f", "xes:x", "zes:z", "ches:ch", "shes:sh", "men:man", "ies:y"),
    "verb": ("s:", "ies:y", "es:e", "es:", "ed:e", "ed:", "ing:e", "ing:"),
    "adj": ("er:", "est:", "er:e", "est:e"),
    "adv": (),
}


@dataclass(frozen=True)
class Lemma:
    """One word of a synonym set."""

    word: str

    def name(self) -> str:
        """The word; blanks are underscores."""
        return self.word


@dataclass(frozen=True)
class Synset:
    """Words with one meaning."""

    words: tuple[str, ...]

    def lemmas(self) -> list[Lemma]:
        """The words of the set."""
        return [Lemma(word) for word in self.words]


class WordNet:
    """Synonym sets of English words, equal to nltk's reader over the same files.

    Args:
        directory: Holds `index.noun`, `data.noun`, `noun.exc` and so on.

    Raises:
        UserError: A file is missing.
    """

    def __init__(self, directory: Path) -> None:
        missing = [name for name in _files() if not (directory / name).is_file()]
        if missing:
            raise UserError(f"{directory} is no WordNet database: {', '.join(missing)} missing; {how_to_get()}")
        self.directory = directory

    def synsets(self, word: str) -> list[Synset]:
        """All synonym sets of `word` and of its base forms, nouns first, most frequent sense first."""
        return [
            self._synset(part, offset)
            for part in PARTS_OF_SPEECH
            for form in self.base_forms(word.lower(), part)
            for offset in self._offsets(form, part)
        ]

    def base_forms(self, word: str, part: str) -> list[str]:
        """Forms of a word that have an entry: itself, and its irregular bases or those that the rules give."""
        bases = self._exceptions[part].get(word)
        if bases is None:
            bases = [word[: -len(old)] + new for old, new in _rules(part) if word.endswith(old)]
        return [form for form in dict.fromkeys([word, *bases]) if self._offsets(form, part)]

    def _offsets(self, form: str, part: str) -> list[int]:
        """Byte offsets of the form's synonym sets: the last `synset_cnt` fields of its index line."""
        line = _find_line(self._map(f"index.{part}"), form)
        fields = line.split()
        return [int(offset) for offset in fields[-int(fields[2]) :]] if fields else []

    def _synset(self, part: str, offset: int) -> Synset:
        """Line `offset ... w_cnt word lex_id word lex_id ...` of the data file (w_cnt is hexadecimal)."""
        database = self._map(f"data.{part}")
        fields = database[offset : database.find(b"\n", offset)].decode().split(" ", 4)
        words = fields[4].split(" ", 2 * int(fields[3], 16))[: 2 * int(fields[3], 16) : 2]
        return Synset(tuple(word.partition("(")[0] for word in words))  # adjectives end in (a), (p) or (ip)

    @cached_property
    def _exceptions(self) -> dict[str, dict[str, list[str]]]:
        tables: dict[str, dict[str, list[str]]] = {}
        for part in PARTS_OF_SPEECH:
            lines = (self.directory / f"{part}.exc").read_text().splitlines()
            tables[part] = {fields[0]: fields[1:] for fields in (line.split() for line in lines) if fields}
        return tables

    @cached_property
    def _maps(self) -> dict[str, mmap.mmap]:
        return {}

    def _map(self, name: str) -> mmap.mmap:
        if name not in self._maps:
            with (self.directory / name).open("rb") as file:
                self._maps[name] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._maps[name]


def find_wordnet() -> Path | None:
    """The first WordNet database on this machine, or None.

    Looked for, in order: `$WNSEARCHDIR`, ./data/wordnet, /usr/share/wordnet, `corpora/wordnet` below `$NLTK_DATA`,
    ~/nltk_data, /usr/share/nltk_data and /usr/local/share/nltk_data.
    """
    roots = [*os.environ.get("NLTK_DATA", "").split(os.pathsep), "~/nltk_data", "/usr/share/nltk_data"]
    places = [os.environ.get("WNSEARCHDIR", ""), str(PREPARED), "/usr/share/wordnet"]
    places += [f"{root}/corpora/wordnet" for root in [*roots, "/usr/local/share/nltk_data"] if root]
    paths = (Path(place).expanduser() for place in places if place)
    return next((path for path in paths if all((path / name).is_file() for name in _files())), None)


def prepare_wordnet(directory: Path) -> Path:
    """Fetch Debian's `wordnet-base` with apt and unpack its database into `directory`; needs a network, but no root.

    Args:
        directory: Created; `data/wordnet` is found without being named.

    Returns:
        `directory`.

    Raises:
        UserError: apt-get or dpkg is missing, or the download failed.
    """
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise UserError(f"expected apt-get and dpkg (Debian, Ubuntu); elsewhere {how_to_get(apt=False)}")
    with tempfile.TemporaryDirectory() as scratch:
        for command in ("apt-get download -qq wordnet-base", "dpkg -x wordnet-base*.deb ."):
            done = subprocess.run(command, cwd=scratch, shell=True, capture_output=True, text=True, check=False)
            if done.returncode:
                raise UserError(
                    f"`{command}` failed ({done.stderr.strip()[-200:]}); `apt-get update` may be needed first"
                )
        directory.mkdir(parents=True, exist_ok=True)
        for name in _files():
            shutil.copy(Path(scratch) / "usr/share/wordnet" / name, directory / name)
    return directory


def how_to_get(apt: bool = True) -> str:
    """What to do where WordNet is absent."""
    ways = ["`python -m src.evaluation.text.wordnet data/wordnet`", "`apt-get install wordnet-base`"] if apt else []
    return " or ".join([*ways, "point WNSEARCHDIR at the directory that holds WordNet 3.0's index.noun and data.noun"])


def _files() -> list[str]:
    return [name for part in PARTS_OF_SPEECH for name in (f"index.{part}", f"data.{part}", f"{part}.exc")]


@cache
def _rules(part: str) -> tuple[tuple[str, str], ...]:
    return tuple((old, new) for old, _, new in (rule.partition(":") for rule in _SUFFIXES[part]))


def _find_line(index: mmap.mmap, form: str) -> str:
    """The line of `form` in a sorted index file, or "" (license lines begin with blanks and sort first)."""
    if not form or " " in form:
        return ""
    key, low, high = form.encode() + b" ", 0, len(index)
    while low < high:
        start = index.rfind(b"\n", 0, (low + high) // 2) + 1
        end = index.find(b"\n", start)
        if index[start : start + len(key)] == key:
            return index[start:end].decode()
        low, high = (end + 1, high) if index[start : end + 1] < key else (low, start)
    return ""


if __name__ == "__main__":
    print(prepare_wordnet(Path(sys.argv[1]) if len(sys.argv) > 1 else PREPARED))
